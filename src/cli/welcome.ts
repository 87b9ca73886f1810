import type { HelixError } from '../core/errors.ts'

/** What of the first model is there, or why it is not: without it the server runs on, and says so in /readyz. */
export type FirstModel =
  | { readonly kind: 'ready'; readonly model: string; readonly firstTokenMs: number }
  /** Models are on other machines, and loaded there when they are asked for. */
  | { readonly kind: 'elsewhere' }
  | { readonly kind: 'none'; readonly reason: HelixError | undefined }

export interface WelcomeFacts {
  /** Ends in /v1, as SDKs want it. */
  readonly url: string
  /** Only at the first start. */
  readonly apiKey: string | undefined
  readonly first: FirstModel
  readonly home: string
}

/** What a person sees when the server is ready; each example works when pasted. */
export function welcome({ url, apiKey, first, home }: WelcomeFacts): string {
  const lines = ['', `HelixFlow is ready at ${url}`]
  if (first.kind === 'ready') {
    lines.push(
      `First token of ${first.model} after ${(first.firstTokenMs / 1000).toFixed(1)} s. Data is in ${home}.`,
    )
  } else if (first.kind === 'elsewhere') {
    lines.push(`Models are in the pool. Data is in ${home}.`)
  } else {
    lines.push(
      first.reason ? `There is no model to serve: ${first.reason.publicMessage}` : 'No default model is set.',
    )
  }
  const key = apiKey ?? '$HELIXFLOW_API_KEY'
  lines.push(
    '',
    apiKey ? `Your first API key, shown only now:\n\n  ${apiKey}` : "An API key: 'helixflow keys create'.",
  )
  if (first.kind === 'ready') lines.push('', ...examples(url, key, first.model))
  return `${lines.join('\n')}\n`
}

function examples(url: string, key: string, model: string): string[] {
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello!' }] })
  const apiKey = key.startsWith('$') ? 'process.env.HELIXFLOW_API_KEY' : `'${key}'`
  return [
    'Try it:',
    '',
    `  curl ${url}/chat/completions -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" -d '${body}'`,
    '',
    'Or with the OpenAI SDK (npm install openai), in a file such as hello.mjs:',
    '',
    "  import OpenAI from 'openai'",
    `  const client = new OpenAI({ baseURL: '${url}', apiKey: ${apiKey} })`,
    `  console.log((await client.chat.completions.create({ model: '${model}', messages: [{ role: 'user', content: 'Hello!' }] })).choices[0].message.content)`,
  ]
}

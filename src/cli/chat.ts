import { createInterface } from 'node:readline/promises'
import type { Command } from 'commander'
import { request } from 'undici'
import { OPERATIONS } from '../contracts/administration/operations.ts'
import { EventSplitter, eventData } from '../contracts/sse.ts'
import { type ErrorBody, HelixError } from '../core/errors.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'

type ChatFlags = CommonOptions & { readonly message?: string; readonly url?: string; readonly key?: string }

interface Message {
  readonly role: 'user' | 'assistant'
  readonly content: string
}

interface Endpoint {
  readonly url: string
  readonly key: string
  /** Takes back what was made for this conversation. */
  close(): Promise<void>
}

const KEY_LIFE_MS = 24 * 60 * 60 * 1000

export function chatCommand(): Command {
  return command('chat', 'talk to a model in the terminal')
    .argument('[model]', 'which one (default: models.default)')
    .option('-m, --message <text>', 'ask one question and leave; piped input is one question too')
    .option('--url <url>', 'a HelixFlow elsewhere; needs --key or HELIXFLOW_API_KEY')
    .option('--key <key>', 'API key (default: HELIXFLOW_API_KEY, else one made for this conversation)')
    .action((model: string | undefined, options: ChatFlags) =>
      runCommand(options, (context) => chat(context, model, options)),
    )
}

async function chat(context: CommandContext, model: string | undefined, flags: ChatFlags): Promise<number> {
  const name = model ?? context.settings.config.models.default
  if (!name) throw new HelixError('invalid_arguments', 'Say which model: helixflow chat MODEL')
  const endpoint = await openEndpoint(context, flags)
  try {
    const question = flags.message ?? (process.stdin.isTTY ? undefined : await readAll(process.stdin))
    if (question === undefined) await converse(context, endpoint, name)
    else await answerOnce(context, endpoint, name, question)
    return 0
  } finally {
    await endpoint.close()
  }
}

async function openEndpoint({ control, settings }: CommandContext, flags: ChatFlags): Promise<Endpoint> {
  const key = flags.key ?? settings.environment.apiKey
  const url = flags.url ?? (await control.get<{ url: string }>('/admin/v1/status')).url
  if (key !== undefined) return { url, key, close: async () => {} }
  if (flags.url !== undefined) {
    throw new HelixError('invalid_arguments', 'Another server needs a key: --key, or HELIXFLOW_API_KEY.')
  }
  const expiresAt = new Date(Date.now() + KEY_LIFE_MS).toISOString()
  const made = await control.administer(OPERATIONS['keys.create'], { name: 'helixflow chat', expiresAt })
  return {
    url,
    key: String(made['plaintext']),
    close: async () => void (await control.administer(OPERATIONS['keys.revoke'], { id: made['id'] })),
  }
}

async function answerOnce(
  context: CommandContext,
  endpoint: Endpoint,
  model: string,
  question: string,
): Promise<void> {
  const messages: Message[] = [{ role: 'user', content: question }]
  const write = context.json ? () => {} : (text: string) => void process.stdout.write(text)
  const answer = await ask(endpoint, { model, messages, signal: context.signal, write })
  context.output.result({ model, message: answer }, () => '')
}

async function converse(context: CommandContext, endpoint: Endpoint, model: string): Promise<void> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  const messages: Message[] = []
  context.output.note(`Talking to ${model}. An empty line or Ctrl-D ends.`)
  const ended = new Promise<''>((resolve) => terminal.once('close', () => resolve('')))
  try {
    for (;;) {
      const question = await Promise.race([terminal.question('> '), ended])
      if (question.trim() === '') return
      messages.push({ role: 'user', content: question })
      const write = (text: string) => void process.stdout.write(text)
      const content = await ask(endpoint, { model, messages, signal: context.signal, write })
      messages.push({ role: 'assistant', content })
      context.output.line()
    }
  } finally {
    terminal.close()
  }
}

interface Question {
  readonly model: string
  readonly messages: readonly Message[]
  readonly signal: AbortSignal
  write(text: string): void
}

async function ask({ url, key }: Endpoint, { model, messages, signal, write }: Question): Promise<string> {
  const answer = await request(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages, stream: true }),
    signal,
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  if (answer.statusCode !== 200) throw toError((await answer.body.json()) as ErrorBody)
  const splitter = new EventSplitter(2 ** 24)
  let whole = ''
  for await (const chunk of answer.body) {
    for (const event of splitter.push(chunk as Buffer) ?? []) {
      const data = eventData(event)
      if (data === undefined || data === '[DONE]') continue
      const value = JSON.parse(data) as Partial<ErrorBody> & {
        choices?: { delta?: { content?: string | null } }[]
      }
      if (value.error) throw toError({ error: value.error })
      const text = value.choices?.[0]?.delta?.content ?? ''
      whole += text
      write(text)
    }
  }
  return whole
}

function toError({ error }: ErrorBody): HelixError {
  return new HelixError(error.code, error.message, { param: error.param ?? undefined })
}

async function readAll(stream: NodeJS.ReadStream): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8').trim()
}

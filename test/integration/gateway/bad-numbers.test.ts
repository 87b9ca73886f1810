import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { engineProcess, exists } from '../../support/engine-process.ts'
import { post, type RawAnswer } from '../../support/raw-client.ts'
import { type Server, startServer } from '../../support/server.ts'

let server: Server
let engine: number

beforeAll(async () => {
  server = await startServer({ config: { models: { contextLength: 256 } } })
  engine = await engineProcess(server, 'tiny')
})
afterAll(async () => {
  if (server) expect(await server.stop()).toBe(0)
})

const EXTREMES = ['-1', '0', '1.5', '2147483648', '9007199254740992', '1e308', '-1e308', '1e999', 'NaN']

/** A parameter, where it stands in a body, and which of the extremes it takes. */
interface Parameter {
  readonly name: string
  /** A body with NUMBER where the number goes. */
  readonly body: string
  readonly takes?: readonly string[]
  /** What a refusal names, where that is not the parameter itself. */
  readonly refusedAt?: RegExp
}

const chat = (name: string, takes: readonly string[] = [], beside = ''): Parameter => ({
  name,
  body: `{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"max_tokens":2,${beside}"${name}":NUMBER}`,
  takes,
})

const CHAT: readonly Parameter[] = [
  chat('n'),
  chat('seed', ['-1', '0', '2147483648']),
  chat('temperature', ['0', '1.5']),
  chat('top_p'),
  chat('top_k', ['0']),
  chat('min_p', ['0']),
  chat('presence_penalty', ['-1', '0', '1.5']),
  chat('frequency_penalty', ['-1', '0', '1.5']),
  chat('top_logprobs', ['0'], '"logprobs":true,'),
  {
    name: 'max_tokens',
    body: '{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"max_tokens":NUMBER}',
  },
  {
    name: 'max_completion_tokens',
    body: '{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"max_completion_tokens":NUMBER}',
  },
  { ...chat('logit_bias', ['-1', '0', '1.5']), ...biased('"20":NUMBER') },
  { ...chat('logit_bias as a token'), ...biased('"NUMBER":1'), takes: ['0'] },
  { ...chat('minItems in a schema'), ...shaped('"type":"array","minItems":NUMBER'), takes: ['0'] },
  { ...chat('maxLength in a schema'), ...shaped('"type":"string","maxLength":NUMBER'), takes: ['0'] },
]

const completion = (name: string, takes: readonly string[] = []): Parameter => ({
  name,
  body: `{"model":"tiny","prompt":"a","max_tokens":2,"${name}":NUMBER}`,
  takes,
})

const COMPLETION: readonly Parameter[] = [
  completion('n'),
  completion('logprobs', ['0']),
  completion('best_of'),
  completion('seed', ['-1', '0', '2147483648']),
  { name: 'prompt', body: '{"model":"tiny","prompt":[NUMBER],"max_tokens":2}', takes: ['0'] },
  { name: 'prompt', body: '{"model":"tiny","prompt":[[NUMBER]],"max_tokens":2}', takes: ['0'] },
]

const EMBEDDING: readonly Parameter[] = [
  { name: 'input', body: '{"model":"tiny","input":[NUMBER]}', takes: ['0'] },
  { name: 'input', body: '{"model":"tiny","input":[[5,NUMBER]]}', takes: ['0'] },
  { name: 'dimensions', body: '{"model":"tiny","input":"a","dimensions":NUMBER}' },
]

function biased(entry: string): Pick<Parameter, 'body' | 'refusedAt'> {
  const body = `{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"max_tokens":2,"logit_bias":{${entry}}}`
  return { body, refusedAt: /^logit_bias/ }
}

function shaped(schema: string): Pick<Parameter, 'body' | 'refusedAt'> {
  const format = `{"type":"json_schema","json_schema":{"name":"s","schema":{${schema}}}}`
  const body = `{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"max_tokens":2,"response_format":${format}}`
  return { body, refusedAt: /^response_format/ }
}

function send(path: string, body: string): Promise<RawAnswer> {
  return post(`${server.origin}${path}`, { headers: { authorization: `Bearer ${server.apiKey}` }, body })
}

describe.each([
  ['/v1/chat/completions', CHAT],
  ['/v1/completions', COMPLETION],
  ['/v1/embeddings', EMBEDDING],
])('%s', (path, parameters) => {
  test.each(parameters)('$name: $body takes $takes and refuses the rest by name', async (parameter) => {
    const { name, body, takes = [], refusedAt = new RegExp(`^${name}`) } = parameter
    for (const extreme of EXTREMES) {
      const { status, text } = await send(path, body.replace('NUMBER', extreme))
      const shown = `${extreme}: ${text.slice(0, 300)}`
      if (takes.includes(extreme)) {
        expect(status, shown).toBe(200)
        continue
      }
      expect(status, shown).toBe(400)
      const { error } = JSON.parse(text)
      // NaN is no JSON, unless it stands inside quotes.
      if (error.code !== 'invalid_json') expect(error.param, shown).toMatch(refusedAt)
    }
    expect(exists(engine), 'the engine is still the same').toBe(true)
  })
})

test.each([
  ['/v1/completions', (token: number) => ({ model: 'tiny', prompt: [token], max_tokens: 1 })],
  ['/v1/completions', (token: number) => ({ model: 'tiny', prompt: 'a', logit_bias: { [token]: 1 } })],
  ['/v1/embeddings', (token: number) => ({ model: 'tiny', input: [[token]] })],
])('%s refuses tokens that the model does not have, and takes its last one', async (path, bodyOf) => {
  const [, size = ''] = /"alias":"tiny".*"vocabularySize":(\d+)/.exec(server.log()) ?? []
  for (const token of [Number(size), Number(size) + 1, 2 ** 31 - 1]) {
    if (token > 999_999_999) continue
    expect((await send(path, JSON.stringify(bodyOf(token)))).status, String(token)).toBe(400)
  }
  expect((await send(path, JSON.stringify(bodyOf(Number(size) - 1)))).status).toBe(200)
})

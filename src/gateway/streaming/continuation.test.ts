import { expect, test } from 'vitest'
import { ChatRequest } from '../../contracts/openai/chat.ts'
import type { Replica } from '../../contracts/pool.ts'
import type { HelixError } from '../../core/errors.ts'
import { seededRandom } from '../../core/random.ts'
import type { Answer } from '../dispatch/exchange.ts'
import { continuation } from './continuation.ts'

const asked = { stream: true }
const text = 'Es war einmal, '

test('an engine that can goes on from the text, with what is left of the length', () => {
  const { exchange } = continuation(request({ max_tokens: 20 }), { text, pieces: 5 })
  expect(exchange.body(replica({ continues: true }), asked)).toMatchObject({
    messages: [
      { role: 'user', content: 'Erzähl.' },
      { role: 'assistant', content: text },
    ],
    continue_final_message: true,
    add_generation_prompt: false,
    max_tokens: 15,
    stream: true,
  })
})

test('any other is asked again where it would say the same, and only what is new is written', () => {
  const whole = `${text}da lebte ein König. `
  const random = seededRandom(11)
  for (let round = 0; round < 200; round++) {
    const { exchange, rest } = continuation(request({ temperature: 0 }), { text, pieces: 5 })
    expect(exchange.body(replica({ continues: false }), asked)).not.toHaveProperty('continue_final_message')
    const { scribe, said } = recording()
    const other = rest(scribe)
    other.chunk(chunk({ delta: { role: 'assistant', content: '' } }))
    for (let at = 0; at < whole.length; ) {
      const next = at + 1 + Math.floor(6 * random.uniform())
      other.chunk(chunk({ delta: { content: whole.slice(at, next) } }))
      at = next
    }
    other.chunk(chunk({ delta: {}, finish_reason: 'stop' }))
    other.complete()
    expect(said.text).toBe('da lebte ein König. ')
    expect(said.ends).toEqual(['complete'])
  }
})

test('what contradicts the beginning is no continuation of it', () => {
  for (const other of ['Es war nie', 'Es war einmal.', 'x']) {
    const { exchange, rest } = continuation(request({ temperature: 0 }), { text, pieces: 5 })
    exchange.body(replica({ continues: false }), asked)
    const { scribe, said } = recording()
    const scribeOfRest = rest(scribe)
    for (const piece of [other, ' und mehr']) scribeOfRest.chunk(chunk({ delta: { content: piece } }))
    scribeOfRest.complete()
    expect([said.text, said.ends]).toEqual(['', ['engine_failed']])
  }
})

test.each([
  ['chance decides', {}],
  ['there are several choices', { temperature: 0, n: 2 }],
  ['the text is JSON of a schema', { temperature: 0, response_format: { type: 'json_object' } }],
  ['log probabilities were asked for', { temperature: 0, logprobs: true }],
])('where %s, an upstream that cannot go on is not asked', (_why, change) => {
  const attempt = () =>
    continuation(request(change), { text, pieces: 5 }).exchange.body(replica({ continues: false }), asked)
  expect(attempt).toThrow(expect.objectContaining<Partial<HelixError>>({ code: 'engine_failed' }))
})

test('of which nothing was said, it is simply asked again', () => {
  const { exchange } = continuation(request({ n: 2 }), { text: '', pieces: 0 })
  expect(exchange.body(replica({ continues: false }), asked)).toMatchObject({ n: 2, stream: true })
})

function request(change: object): ChatRequest {
  return ChatRequest.parse({ model: 'm', messages: [{ role: 'user', content: 'Erzähl.' }], ...change })
}

function replica({ continues }: { readonly continues: boolean }): Replica {
  const address = { url: 'http://localhost', socketPath: undefined, apiKey: undefined }
  const unknown = { contextLength: undefined, supportsTools: undefined, vocabularySize: undefined }
  const named = { id: 'r', model: 'm', engineModel: 'm', engine: 'upstream' as const, revision: '1' }
  return { ...named, address, slots: 4, ...unknown, continues }
}

function chunk(choice: Answer): Answer {
  return { id: 'c', choices: [{ index: 0, finish_reason: null, ...choice }] }
}

function recording() {
  const said = { text: '', ends: [] as string[] }
  const scribe = {
    chunk: ({ choices }: Answer) => {
      const [choice] = choices as readonly { readonly delta: { readonly content?: string } }[]
      said.text += choice?.delta.content ?? ''
    },
    complete: () => void said.ends.push('complete'),
    fail: ({ code }: HelixError) => void said.ends.push(code),
  }
  return { scribe, said }
}

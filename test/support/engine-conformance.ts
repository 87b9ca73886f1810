import { request } from 'node:http'
import { describe, expect, test, vi } from 'vitest'
import type { LlamaEngine } from '../../src/engines/llama-engine.ts'
import { askEngine } from '../../src/engines/llama-request.ts'
import type { LlamaServer } from '../../src/engines/llama-server.ts'
import { startTestServer } from './engine.ts'

/** What every llama-server that we build must do, with our patches or without: they change how fast, never what. */
export function engineConformance(theEngine: () => Promise<LlamaEngine>): void {
  describe('many streams at once', () => {
    test('64 of them get each their own events, all of them, in order', async () => {
      const server = await startTestServer({ engine: await theEngine(), slots: 64, contextLength: 256 })
      const streams = await Promise.all(
        Array.from({ length: 64 }, (_, index) => readStream(server, { ...story(index), max_tokens: 40 })),
      )
      for (const stream of streams) expectWhole(stream, 1, 40)
      expect(new Set(streams.map(({ events }) => events[0]?.id)).size).toBe(64)
    })

    test('those that leave take nothing from those that stay, and give their slots back', async () => {
      const server = await startTestServer({ engine: await theEngine(), slots: 16, contextLength: 512 })
      const streams = await Promise.all(
        Array.from({ length: 16 }, (_, index) =>
          readStream(server, { ...story(index), max_tokens: 200 }, index % 2 === 0 ? 5 : undefined),
        ),
      )
      for (const stream of streams.filter((_, index) => index % 2 === 1)) expectWhole(stream, 1, 200)
      await vi.waitFor(async () => expect(await busySlots(server)).toBe(0), { timeout: 10_000 })
      expectWhole(await readStream(server, { ...story(99), max_tokens: 10 }), 1, 10)
    })

    test('each choice of several prompts is whole and in order', async () => {
      const server = await startTestServer({ engine: await theEngine(), slots: 8, contextLength: 256 })
      const several = {
        prompt: ['One', 'Two words', 'Three more words'],
        n: 2,
        max_tokens: 30,
        ignore_eos: true,
      }
      expectWhole(await readStream(server, { ...story(0), ...several }), 6, 30)
      const { body } = await askEngine(server.address, '/v1/completions', {
        timeoutMs: 30_000,
        body: several,
      })
      const { choices } = body as { choices: readonly { index: number; text: string }[] }
      expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5])
      for (const { text } of choices) expect(text.length).toBeGreaterThan(0)
    })
  })

  test('a seed gives the same choices again, also of schemas and with log probabilities', async () => {
    const server = await startTestServer({ engine: await theEngine(), slots: 8, contextLength: 512 })
    const first = await seededChoices(server)
    expect(await seededChoices(server)).toEqual(first)
  })
}

/**
 * What chance has part in, asked so that the slots are in the same batches each time: choices of one prompt begin and
 * go on together.
 */
export async function seededChoices(server: LlamaServer): Promise<readonly unknown[]> {
  const messages = [{ role: 'user', content: 'Tell a story' }]
  // What is computed anew has other last bits than what is reused.
  const eight = { messages, n: 8, seed: 11, max_tokens: 20, cache_prompt: false }
  const schema = {
    type: 'object',
    properties: { a: { type: 'integer' }, b: { type: 'boolean' } },
    required: ['a', 'b'],
  }
  const kinds = [
    { temperature: 1 },
    { temperature: 1.5, top_p: 0.9, presence_penalty: 0.5, logprobs: true, top_logprobs: 3 },
    { temperature: 1, response_format: { type: 'json_schema', json_schema: { name: 'pair', schema } } },
  ]
  const answers = []
  for (const kind of kinds) {
    const body = { ...eight, ...kind }
    const answer = await askEngine(server.address, '/v1/chat/completions', { timeoutMs: 20_000, body })
    expect(answer.status, JSON.stringify(answer.body)).toBe(200)
    const { choices } = answer.body as { choices: readonly { message: { content: string } }[] }
    expect(new Set(choices.map(({ message }) => message.content)).size).toBeGreaterThan(1)
    answers.push(choices)
  }
  return answers
}

interface StreamEvent {
  readonly id: string
  readonly choices: readonly { readonly index: number; readonly finish_reason: string | null }[]
  readonly timings?: { readonly predicted_n: number }
}

interface ReadStream {
  readonly events: readonly StreamEvent[]
  /** Whether it said that it is done. */
  readonly done: boolean
}

/** A text of its own for each number; every event says how many tokens its choice has. */
function story(index: number): object {
  return {
    prompt: `Story number ${index}`,
    seed: index + 1,
    ignore_eos: true,
    stream: true,
    timings_per_token: true,
  }
}

/** Of each choice every token, once, in the order in which they were generated. */
function expectWhole({ events, done }: ReadStream, choices: number, tokens: number): void {
  expect(done).toBe(true)
  expect(new Set(events.map(({ id }) => id)).size).toBe(1)
  for (let index = 0; index < choices; index++) {
    const own = events.filter((event) => event.choices[0]?.index === index)
    const counts = own.slice(0, -1).map(({ timings }) => timings?.predicted_n)
    expect(counts).toEqual(Array.from({ length: tokens }, (_, place) => place + 1))
    expect(own.at(-1)?.choices[0]?.finish_reason).toBe('length')
  }
}

/** Reads a stream to its end, or leaves after so many events. */
function readStream(server: LlamaServer, body: object, leaveAfter?: number): Promise<ReadStream> {
  const { socketPath, apiKey } = server.address
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` }
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { socketPath, path: '/v1/completions', method: 'POST', headers, agent: false },
      (incoming) => {
        let text = ''
        incoming.setEncoding('utf8')
        incoming.on('data', (chunk: string) => {
          text += chunk
          if (leaveAfter === undefined) return
          const read = parsed(text)
          if (read.events.length < leaveAfter) return
          resolve(read)
          outgoing.destroy()
        })
        incoming.on('error', reject)
        incoming.on('end', () => resolve(parsed(text)))
      },
    )
    // After it was left the promise is settled, and this says nothing.
    outgoing.on('error', reject)
    outgoing.end(JSON.stringify(body))
  })
}

function parsed(text: string): ReadStream {
  const data = text
    .split('\n\n')
    .slice(0, -1)
    .map((event) => event.replace(/^data: /, ''))
  const done = data.at(-1) === '[DONE]'
  // llama-server says so when a further choice begins.
  const telling = data.filter((one) => one !== '[DONE]' && one !== 'null')
  return { events: telling.map((one) => JSON.parse(one) as StreamEvent), done }
}

async function busySlots({ address }: LlamaServer): Promise<number> {
  const { body } = await askEngine(address, '/slots', { timeoutMs: 10_000 })
  return (body as { is_processing: boolean }[]).filter((slot) => slot.is_processing).length
}

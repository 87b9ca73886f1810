import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { HelixFlowClient } from '../../../src/client/client.ts'
import type { HelixFlowOptions } from '../../../src/client/options.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { randomPieces } from '../../support/client-time.ts'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { ResetProxy } from '../../support/reset-proxy.ts'
import type { UpstreamCall } from '../../support/scripted-upstream.ts'

let bench: GatewayBench
const opened: { close(): Promise<unknown> }[] = []
const seeds = new Map<string, readonly string[]>()

beforeAll(async () => {
  bench = await GatewayBench.start(
    { requestDeadline: '60s', stallTimeout: '20s' },
    {},
    { realtime: { handshakesPerSecond: 1_000 } },
  )
  bench.upstream.play((call) => void answer(call))
})
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close()
})
afterAll(() => bench?.stop())

/** The text that belongs to the question, a few pieces at a time. */
async function answer(call: UpstreamCall): Promise<void> {
  const { messages } = JSON.parse(call.body) as { messages: { content: string }[] }
  const pieces = seeds.get(messages[0]?.content ?? '') ?? ['Hel', 'lo']
  const chunk = (choices: object[], more: object = {}) =>
    `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'far', choices, ...more })}\n\n`
  const usage = { prompt_tokens: 1, completion_tokens: pieces.length, total_tokens: pieces.length + 1 }
  call.response.writeHead(200, { 'content-type': 'text/event-stream' })
  call.response.write(chunk([{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }]))
  for (const [index, content] of pieces.entries()) {
    call.response.write(chunk([{ index: 0, delta: { content }, finish_reason: null }]))
    if (index % 8 === 0) await sleep(4)
  }
  call.response.write(chunk([{ index: 0, delta: {}, finish_reason: 'stop' }]))
  call.response.end(`${chunk([], { usage })}data: [DONE]\n\n`)
}

function connect(options: Partial<HelixFlowOptions> = {}): HelixFlowClient {
  const { origin, apiKey } = bench.server
  const client = new HelixFlowClient({ url: origin, apiKey, WebSocket, ...options })
  opened.push(client)
  return client
}

const ask = (content: string) => ({ model: 'far', messages: [{ role: 'user' as const, content }] })

describe('against a gateway', () => {
  test('a chat is read as text, with its usage and the reason of its end', async () => {
    const stream = connect().chat(ask('Hello'))
    const seen: string[] = []
    for await (const text of stream.text()) seen.push(text)
    expect(seen.join('')).toBe('Hello')
    const { text, usage, finishReason, model } = await stream.result
    expect({ text, finishReason, model }).toEqual({ text: 'Hello', finishReason: 'stop', model: 'far' })
    expect(usage).toMatchObject({ prompt_tokens: 1, completion_tokens: 2 })
  })

  test('40 streams come whole and exact through a proxy that resets its connections at random bytes', async () => {
    const random = seededRandom(5)
    const proxy = await ResetProxy.start(Number(new URL(bench.server.origin).port), () =>
      random.uniform() < 0.8 ? 500 + Math.floor(random.uniform() * 30_000) : Number.POSITIVE_INFINITY,
    )
    const clients = Array.from({ length: 8 }, () => connect({ url: `http://127.0.0.1:${proxy.port}` }))
    const runs = Array.from({ length: 40 }, async (_, seed) => {
      const pieces = randomPieces(seededRandom(seed), 50 + seed * 20)
      seeds.set(`seed ${seed}`, pieces)
      const stream = clients[seed % clients.length]?.chat(ask(`seed ${seed}`))
      const seen: string[] = []
      if (seed % 3 > 0) for await (const text of stream?.text() ?? []) seen.push(text)
      if (seed % 3 > 0) expect(seen.join(''), `seed ${seed}`).toBe(pieces.join(''))
      expect((await stream?.result)?.text, `seed ${seed}`).toBe(pieces.join(''))
    })
    await Promise.all(runs)
    expect(proxy.resets).toBeGreaterThan(20)
    for (const client of clients) await client.close()
    opened.length = 0
    await proxy.stop()
  }, 120_000)

  test('a reader that pauses for longer than its buffer holds misses nothing', async () => {
    const pieces = randomPieces(seededRandom(77), 3_000)
    seeds.set('slow', pieces)
    const stream = connect({ bufferEvents: 16 }).chat(ask('slow'))
    const seen: string[] = []
    for await (const text of stream.text()) {
      seen.push(text)
      if (seen.length % 500 === 0) await sleep(300)
    }
    expect(seen.join('')).toBe(pieces.join(''))
  })

  test('cancelling ends the generation at the engine', async () => {
    seeds.set('long', Array(20_000).fill('a'))
    const stream = connect().chat(ask('long'))
    const before = bench.upstream.calls.length
    for await (const event of stream) if (event.seq === 20) break
    const call = bench.upstream.calls[Math.max(0, before - 1)] ?? bench.upstream.calls.at(-1)
    await call?.closed
    await expect(stream.result).rejects.toMatchObject({ code: 'cancelled' })
  })

  test('the same name is the same generation, also at another client', async () => {
    const before = bench.upstream.calls.length
    seeds.set('named', randomPieces(seededRandom(9), 400))
    const [one, two] = [connect(), connect()]
    const first = one.chat(ask('named'), { id: 'once' })
    await expect.poll(() => first.position?.seq).toBeGreaterThan(5)
    const [early, late] = await Promise.all([first.result, two.chat(ask('named'), { id: 'once' }).result])
    expect([late.text, late.responseId]).toEqual([early.text, early.responseId])
    expect(bench.upstream.calls.length - before).toBe(1)
  })

  test('what is published comes once, in order, to whoever follows', async () => {
    const [reader, writer] = [connect(), connect()]
    const topic = reader.subscribe<number>('custom/numbers')
    await topic.ready
    for (let value = 1; value <= 50; value++) await writer.publish('custom/numbers', value)
    const seen: number[] = []
    for await (const { data } of topic) {
      seen.push(data)
      if (seen.length === 50) break
    }
    expect(seen).toEqual(Array.from({ length: 50 }, (_, index) => index + 1))
  })

  test('the models are told at once, and to a second follower too', async () => {
    const client = connect()
    for (let time = 0; time < 2; time++) {
      for await (const { data } of client.subscribe('models')) {
        expect(JSON.stringify(data)).toContain('far')
        break
      }
    }
  })

  test('more than 16 at once are refused by their name, and the others go on', async () => {
    const client = connect()
    seeds.set('some', randomPieces(seededRandom(3), 300))
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, () => client.chat(ask('some')).result),
    )
    const failed = outcomes.filter((one) => one.status === 'rejected').map(({ reason }) => reason.code)
    expect(new Set(failed)).toEqual(new Set(['concurrency_limit_exceeded']))
    expect(outcomes.length - failed.length).toBeGreaterThanOrEqual(16)
  })

  test('a ticket opens a connection, once each', async () => {
    const { origin, apiKey } = bench.server
    let tickets = 0
    const ticket = async () => {
      tickets++
      const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
      const answered = await fetch(`${origin}/v1/ws/tickets`, { method: 'POST', headers, body: '{}' })
      return ((await answered.json()) as { ticket: string }).ticket
    }
    const client = connect({ apiKey: undefined, ticket })
    expect((await client.chat(ask('Hello')).result).text).toBe('Hello')
    expect(tickets).toBe(1)
  })

  test('a key that is not known is refused at once, by its code', async () => {
    const client = connect({ apiKey: 'hf_live_wrong' })
    await expect(client.chat(ask('Hello')).result).rejects.toMatchObject({
      code: 'invalid_api_key',
      status: 401,
      retryable: false,
    })
  })

  test('a wrong parameter is refused by its name', async () => {
    const client = connect()
    await expect(client.chat({ ...ask('Hello'), temperature: 9 }).result).rejects.toMatchObject({
      code: 'invalid_value',
      param: 'temperature',
    })
    await expect(client.chat({ ...ask('Hello'), model: 'none' }).result).rejects.toMatchObject({
      code: 'model_not_found',
    })
  })
})

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { post } from '../../support/raw-client.ts'
import {
  chatAnswer,
  chatEvent,
  sendEvents,
  sendStream,
  sendWhole,
  wholeStream,
} from '../../support/scripted-upstream.ts'
import { SocketClient } from '../../support/socket-client.ts'

let bench: GatewayBench

beforeAll(async () => {
  // A million tokens of input cost 1, of output 2.
  bench = await GatewayBench.start({}, {}, { prices: { far: { input: 1, output: 2 } } })
  bench.upstream.script = (call) => {
    if ((JSON.parse(call.body) as { stream?: boolean }).stream) void sendStream(call, wholeStream(4))
    else sendWhole(call, chatAnswer('hi'))
  }
})
afterAll(() => bench?.stop())

type Reading = ReadonlyMap<string, number>

async function read(): Promise<Reading> {
  const text = await (await fetch(bench.server.metricsUrl)).text()
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.replace(/ [^ ]*$/, ''), Number(/ ([^ ]*)$/.exec(line)?.[1])]))
}

/** By how much these counters grow while something is done, once all of it is counted. */
async function growth(names: readonly string[], work: () => Promise<unknown>, until: string) {
  const before = await read()
  await work()
  await expect.poll(async () => grown(before, await read(), until)).toBeGreaterThan(0)
  const after = await read()
  const isAsked = (series: string) => names.some((name) => series.startsWith(`helixflow_${name}`))
  return Object.fromEntries(
    [...after.keys()]
      .filter((series) => isAsked(series) && grown(before, after, series) !== 0)
      .map((series) => [series.replace('helixflow_', ''), grown(before, after, series)]),
  )
}

function grown(before: Reading, after: Reading, series: string): number {
  return (after.get(series) ?? 0) - (before.get(series) ?? 0)
}

const COUNTED = ['requests_total', 'tokens_total', 'request_duration_seconds_count', 'request_errors_total']

function requests(route: string, status = 200, model = 'far'): string {
  return `requests_total{route="${route}",model="${model}",status="${status}"}`
}

const TOKENS_OF_WHOLE = {
  'tokens_total{model="far",direction="prompt"}': 3,
  'tokens_total{model="far",direction="completion"}': 5,
}
const TOKENS_OF_STREAM = {
  'tokens_total{model="far",direction="prompt"}': 3,
  'tokens_total{model="far",direction="completion"}': 4,
}
const DURATION = { 'request_duration_seconds_count{model="far"}': 1 }

test('a whole answer is one request, with its tokens and its cost', async () => {
  const route = '/v1/chat/completions'
  const found = await growth(
    [...COUNTED, 'cost_total', 'auth_attempts_total', 'time_to_first_token_seconds_count'],
    () => bench.ask(),
    `helixflow_${requests(route)}`,
  )
  const project = Object.keys(found).find((series) => series.startsWith('cost_total{project="proj_'))
  expect(found[project ?? '']).toBeCloseTo((3 * 1 + 5 * 2) / 1e6, 12)
  expect(found).toEqual({
    [requests(route)]: 1,
    ...DURATION,
    ...TOKENS_OF_WHOLE,
    [project ?? '']: expect.any(Number),
    'auth_attempts_total{method="api_key",outcome="accepted"}': 1,
  })
})

test('a stream is one request, and says how soon its tokens came', async () => {
  const route = '/v1/chat/completions'
  const found = await growth(
    [...COUNTED, 'time_to_first_token_seconds_count', 'time_per_output_token_seconds_count'],
    () => bench.ask({ stream: true }),
    `helixflow_${requests(route)}`,
  )
  expect(found).toEqual({
    [requests(route)]: 1,
    ...DURATION,
    ...TOKENS_OF_STREAM,
    'time_to_first_token_seconds_count{model="far"}': 1,
    'time_per_output_token_seconds_count{model="far"}': 1,
  })
})

test('a stream that may be left, and a response in the background, are one request each', async () => {
  const detached = await growth(
    COUNTED,
    () => bench.ask({ stream: true }, { headers: { 'x-helixflow-detach': '10s' } }),
    `helixflow_${requests('/v1/chat/completions')}`,
  )
  expect(detached).toEqual({ [requests('/v1/chat/completions')]: 1, ...DURATION, ...TOKENS_OF_STREAM })
  const body = JSON.stringify({ model: 'far', input: 'Hello', background: true })
  const headers = { authorization: `Bearer ${bench.server.apiKey}` }
  const background = await growth(
    COUNTED,
    () => post(`${bench.server.url}/responses`, { headers, body }),
    `helixflow_${requests('/v1/responses')}`,
  )
  expect(background).toEqual({ [requests('/v1/responses')]: 1, ...DURATION, ...TOKENS_OF_STREAM })
})

test('a generation over a socket is one request, beside the one that opened it', async () => {
  let client: SocketClient | undefined
  const found = await growth(
    COUNTED,
    async () => {
      client = await SocketClient.open(bench.server.origin, { apiKey: bench.server.apiKey })
      await client.hello()
      await client.wholeStream((await client.chat()).stream)
    },
    `helixflow_${requests('/ws chat.create')}`,
  )
  await client?.close()
  expect(found).toEqual({
    [requests('/ws', 101, '')]: 1,
    [requests('/ws chat.create')]: 1,
    ...DURATION,
    ...TOKENS_OF_STREAM,
  })
})

test('a client that leaves is counted as such, and is in flight no more', async () => {
  let begun = () => {}
  const isBegun = new Promise<void>((resolve) => {
    begun = resolve
  })
  const { script } = bench.upstream
  bench.upstream.script = async (call) => {
    await sendEvents(call, [chatEvent('one')])
    begun()
  }
  const leaving = new AbortController()
  const found = await growth(
    ['requests_total', 'request_errors_total', 'request_duration_seconds_count'],
    async () => {
      const asking = fetch(`${bench.server.url}/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${bench.server.apiKey}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          model: 'far',
          stream: true,
          messages: [{ role: 'user', content: randomUUID() }],
        }),
        signal: leaving.signal,
      })
      await isBegun
      await asking
      await expect.poll(async () => (await read()).get('helixflow_requests_in_flight')).toBe(1)
      leaving.abort()
    },
    `helixflow_${requests('/v1/chat/completions', 499)}`,
  )
  bench.upstream.script = script
  expect(found).toEqual({
    [requests('/v1/chat/completions', 499)]: 1,
    'request_errors_total{code="client_closed_request"}': 1,
  })
  expect((await read()).get('helixflow_requests_in_flight')).toBe(0)
})

test('a refusal is counted by its code, and a wrong key by its kind', async () => {
  const found = await growth(
    ['requests_total', 'request_errors_total', 'auth_attempts_total'],
    () => bench.ask({}, { headers: { authorization: 'Bearer hf_live_wrong' } }),
    `helixflow_${requests('/v1/chat/completions', 401, '')}`,
  )
  expect(found).toEqual({
    [requests('/v1/chat/completions', 401, '')]: 1,
    'request_errors_total{code="invalid_api_key"}': 1,
    'auth_attempts_total{method="api_key",outcome="invalid_api_key"}': 1,
  })
})

test('names that callers make up are one series', async () => {
  const before = await read()
  for (let round = 0; round < 5; round++) {
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        await bench.ask({ model: `made-up-${randomUUID()}` })
        await fetch(`${bench.server.origin}/made/up/${randomUUID()}`)
        await fetch(`${bench.server.url}/models/${randomUUID()}`, {
          headers: { authorization: `Bearer hf_live_${randomUUID()}` },
        })
      }),
    )
  }
  const unknown = `helixflow_${requests('/v1/chat/completions', 404, 'unknown')}`
  await expect.poll(async () => grown(before, await read(), unknown)).toBe(100)
  const after = await read()
  expect(after.size - before.size).toBeLessThan(30)
  expect([...after.keys()].filter((series) => series.includes('made'))).toEqual([])
})

import OpenAI from 'openai'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { helixflow } from '../../support/helixflow.ts'
import { post } from '../../support/raw-client.ts'
import { RedisServer } from '../../support/redis.ts'
import {
  chatAnswer,
  type ScriptedUpstream,
  sendStream,
  sendWhole,
  wholeStream,
} from '../../support/scripted-upstream.ts'

let bench: GatewayBench
let upstream: ScriptedUpstream
let redis: RedisServer
beforeAll(async () => {
  redis = await RedisServer.start()
  bench = await GatewayBench.start({}, { HELIXFLOW_REDIS_URLS: JSON.stringify([redis.url]) })
  upstream = bench.upstream
})
afterAll(async () => {
  await bench?.stop()
  await redis?.stop()
})
beforeEach(() => {
  upstream.play((call) => {
    if (JSON.parse(call.body).stream) void sendStream(call, wholeStream(3))
    else sendWhole(call, chatAnswer(`answer ${upstream.calls.length}`))
  })
})

let question = 0
/** A request that nobody has made before. */
const fresh = () => ({
  messages: [{ role: 'user' as const, content: `question ${++question}` }],
  temperature: 0,
})
const makeKey = async (scopes: string): Promise<string> => {
  const made = await helixflow(bench.server, 'keys', 'create', 'manager', '--json', '--scopes', scopes)
  return JSON.parse(made.out).plaintext
}
const invalidate = (body: object, apiKey: string) =>
  post(`${bench.server.url}/cache/invalidate`, {
    headers: { authorization: `Bearer ${apiKey}` },
    body: JSON.stringify(body),
  })

test('the official client gets a kept answer in each form, of each form', async () => {
  const client = new OpenAI({ apiKey: bench.server.apiKey, baseURL: bench.server.url, maxRetries: 0 })
  for (const streamFirst of [false, true]) {
    const request = { model: 'far', ...fresh() }
    const whole = async () => (await client.chat.completions.create(request)).choices[0]?.message.content
    const streamed = async () => {
      let text = ''
      const stream = await client.chat.completions.create({ ...request, stream: true })
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
      return text
    }
    const [first, second] = streamFirst ? [streamed, whole] : [whole, streamed]
    const text = await first()
    expect(text).toBe(streamFirst ? 't0 t1 t2 ' : `answer ${upstream.calls.length}`)
    expect(await second()).toBe(text)
    expect(await first()).toBe(text)
    expect(await second()).toBe(text)
  }
  expect(upstream.calls).toHaveLength(2)
})

test('a hit carries the headers of every answer, and its own request id', async () => {
  const request = fresh()
  const first = await bench.ask(request)
  const again = await bench.ask(request)
  expect(again.headers).toMatchObject({
    'x-helixflow-cache': 'hit',
    age: expect.stringMatching(/^\d+$/),
    'x-helixflow-model': 'far',
    'x-request-id': expect.stringMatching(/^req_/),
    'x-helixflow-instance': first.headers['x-helixflow-instance'],
  })
  expect(again.headers['x-request-id']).not.toBe(first.headers['x-request-id'])
  const line = await bench.server.logged(new RegExp(`"request":"${again.headers['x-request-id']}"[^\\n]*`))
  expect(line[0]).toContain('"cache":"hit"')
})

test('an invalidation at the gateway holds for the organisation, and needs the permission', async () => {
  const request = fresh()
  await bench.ask(request)
  expect((await bench.ask(request)).headers['x-helixflow-cache']).toBe('hit')
  const manager = await makeKey('models.manage')
  const done = await invalidate({ model: 'far' }, manager)
  expect([done.status, done.text], done.text).toEqual([200, '{"invalidated":true}'])
  expect((await bench.ask(request)).headers['x-helixflow-cache']).toBe('miss')
  expect((await invalidate({ all: true }, bench.server.apiKey)).status).toBe(403)
  for (const wrong of [{}, { tags: ['a b'] }, { all: false }, { tags: [] }, { everything: true }])
    expect((await invalidate(wrong, manager)).status, JSON.stringify(wrong)).toBe(400)
})

test('the command line says what is kept, and invalidates', async () => {
  const request = fresh()
  await bench.ask(request)
  const stats = await helixflow(bench.server, 'cache', 'stats', '--json')
  const { entries, bytes, vectorsKept } = JSON.parse(stats.out)
  expect(entries).toBeGreaterThan(0)
  expect(bytes).toBeGreaterThan(entries * 100)
  expect(vectorsKept).toMatch(/memory of this gateway .*no rule/)
  expect((await helixflow(bench.server, 'cache', 'invalidate')).code).not.toBe(0)
  expect(await helixflow(bench.server, 'cache', 'invalidate', '--all')).toMatchObject({ code: 0 })
  expect((await bench.ask(request)).headers['x-helixflow-cache']).toBe('miss')
})

test('what is not generated, and what fails, is as it was', async () => {
  const client = { headers: { authorization: `Bearer ${bench.server.apiKey}` } }
  const unknown = await post(`${bench.server.url}/chat/completions`, {
    ...client,
    body: JSON.stringify({ model: 'nobody', ...fresh() }),
  })
  expect([unknown.status, JSON.parse(unknown.text).error.code]).toEqual([404, 'model_not_found'])
  const gone = await bench.ask({ model: 'gone', ...fresh() })
  expect(bench.failureOf(gone)).toEqual({ status: 502, code: 'upstream_unavailable' })
})

test('answers lie in Redis for other gateways too, and without it nothing fails but an invalidation', async () => {
  await redis.command('FLUSHALL')
  const request = fresh()
  await bench.ask(request)
  await vi.waitFor(async () => {
    const keys = await redis.command('KEYS', 'helixflow:cache:{org_default}:answer:*')
    expect(keys.trim().split('\n')).toHaveLength(1)
  })
  await redis.kill()
  await vi.waitFor(async () => expect((await bench.ask(request)).status).toBe(200), { timeout: 10_000 })
  await bench.ask(request)
  expect((await bench.ask(request)).headers['x-helixflow-cache']).toBe('hit')
  const refused = await helixflow(bench.server, 'cache', 'invalidate', '--all')
  expect(refused.code).not.toBe(0)
  expect(refused.err).toContain('Other gateways may not have heard')
  expect((await bench.ask(request)).headers['x-helixflow-cache']).toBe('miss')
})

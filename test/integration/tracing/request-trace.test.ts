import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Server, startServer } from '../../support/server.ts'
import { type ReceivedSpan, TraceReceiver } from '../../support/trace-receiver.ts'

let receiver: TraceReceiver
let server: Server

beforeAll(async () => {
  receiver = await TraceReceiver.start()
  const tracing = {
    endpoint: receiver.endpoint,
    headers: { 'x-collector': 'known' },
    attributes: { site: 'test' },
  }
  server = await startServer({ model: null, config: { tracing, cache: { rules: [{ mode: 'always' }] } } })
}, 60_000)

afterAll(async () => {
  await server?.stop()
  await receiver?.stop()
})

const ask = (headers: Record<string, string> = {}, more: object = {}) =>
  fetch(`${server.url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify({
      ...{
        model: 'tiny',
        max_tokens: 4,
        messages: [{ role: 'user', content: 'A question nobody else hears' }],
      },
      ...more,
    }),
  })

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const CALLER = '00f067aa0ba902b7'

const traceOf = async (traceId: string, name: string) => {
  await expect.poll(() => receiver.of(traceId).map((span) => span.name), { timeout: 10_000 }).toContain(name)
  return receiver.of(traceId)
}

test('one trace goes from the caller through gateway, queue, pool and node to the engine', async () => {
  const headers = { traceparent: `00-${TRACE}-${CALLER}-01`, tracestate: 'vendor=opaque' }
  const response = await ask(headers)
  expect(response.status).toBe(200)
  const { usage } = (await response.json()) as { usage: { prompt_tokens: number; completion_tokens: number } }
  const spans = await traceOf(TRACE, 'POST /v1/chat/completions')
  const named = (name: string): ReceivedSpan =>
    spans.find((span) => span.name === name) ??
    expect.unreachable(`no span ${name} in ${spans.map((one) => one.name)}`)
  const root = named('POST /v1/chat/completions')
  const parents = Object.fromEntries(
    spans.map(({ name, parentSpanId }) => [name, spans.find(({ spanId }) => spanId === parentSpanId)?.name]),
  )
  expect(parents).toEqual({
    'POST /v1/chat/completions': undefined,
    authenticate: root.name,
    'helixflow.v1.AuthService/Verify': 'authenticate',
    'look into the cache': root.name,
    'wait for an engine': root.name,
    acquire: 'wait for an engine',
    'load tiny': 'acquire',
    'start an engine': 'load tiny',
    'chat tiny': root.name,
  })
  expect(root).toMatchObject({ parentSpanId: CALLER, kind: 2, failed: false, traceState: 'vendor=opaque' })
  expect(root.attributes).toMatchObject({
    'http.request.method': 'POST',
    'http.route': '/v1/chat/completions',
    'http.response.status_code': 200,
    'helixflow.request.id': response.headers.get('x-request-id'),
  })
  expect(named('chat tiny')).toMatchObject({ kind: 3 })
  expect(named('chat tiny').attributes).toMatchObject({
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'llama-server',
    'gen_ai.request.model': 'tiny',
    'gen_ai.request.stream': false,
    'gen_ai.response.model': 'tiny',
    'gen_ai.usage.input_tokens': usage.prompt_tokens,
    'gen_ai.usage.output_tokens': usage.completion_tokens,
    'gen_ai.response.finish_reasons': ['length'],
    'server.address': expect.stringMatching(/\.sock$/),
  })
  expect(named('wait for an engine').attributes).toMatchObject({
    'helixflow.queue.place': 1,
    'helixflow.queue.reason': 'no replica',
  })
  expect(named('load tiny').attributes).toMatchObject({
    'helixflow.load.outcome': 'ready',
    'helixflow.devices': [expect.any(String)],
  })
  expect(root.resource).toMatchObject({ 'service.name': 'helixflow', 'helixflow.role': 'all', site: 'test' })
  expect(receiver.headers[0]).toMatchObject({ 'x-collector': 'known' })
  const line = await server.logged(new RegExp(`.*"trace":"${TRACE}".*`))
  expect(JSON.parse(line[0])).toMatchObject({ event: 'request', status: 200, route: '/v1/chat/completions' })
}, 20_000)

test('an answer that was kept needs no engine, and its trace says so; a key that is known is not asked about', async () => {
  const traceId = TRACE.replace('4bf', 'aaa')
  const response = await ask({ traceparent: `00-${traceId}-${CALLER}-01` })
  expect(response.headers.get('x-helixflow-cache')).toBe('hit')
  const spans = await traceOf(traceId, 'POST /v1/chat/completions')
  expect(spans.map(({ name }) => name).sort()).toEqual(['POST /v1/chat/completions', 'look into the cache'])
  expect(spans.find(({ name }) => name.startsWith('POST'))?.attributes).toMatchObject({
    'helixflow.cache': 'hit',
  })
})

test('a stream says when its first piece came; what was asked and answered is in no span', async () => {
  const traceId = TRACE.replace('4bf', 'bbb')
  const messages = [{ role: 'user', content: 'canary-in-the-prompt' }]
  const response = await ask(
    { traceparent: `00-${traceId}-${CALLER}-01` },
    { stream: true, messages, user: 'canary-user' },
  )
  await response.text()
  const spans = await traceOf(traceId, 'POST /v1/chat/completions')
  const { attributes } = spans.find(({ name }) => name === 'chat tiny') ?? expect.unreachable('no call')
  expect(attributes['gen_ai.request.stream']).toBe(true)
  expect(attributes['gen_ai.response.time_to_first_chunk']).toBeGreaterThan(0)
  expect(attributes['gen_ai.response.time_to_first_chunk']).toBeLessThan(10)
  expect(receiver.raw).not.toMatch(/canary/)
  expect(receiver.raw).not.toContain(server.apiKey)
})

test('a caller whose trace is not recorded has none here', async () => {
  const traceId = TRACE.replace('4bf', 'ccc')
  const before = receiver.spans.length
  await (await ask({ traceparent: `00-${traceId}-${CALLER}-00` }, { seed: 3 })).text()
  const after = TRACE.replace('4bf', 'ddd')
  await (await ask({ traceparent: `00-${after}-${CALLER}-01` }, { seed: 4 })).text()
  await traceOf(after, 'POST /v1/chat/completions')
  expect(receiver.spans.length).toBeGreaterThan(before)
  expect(receiver.of(traceId)).toEqual([])
})

test('a refused request is a trace that names the code, and no failure of this server', async () => {
  const traceId = TRACE.replace('4bf', 'eee')
  await ask({ traceparent: `00-${traceId}-${CALLER}-01` }, { model: 'absent' })
  const spans = await traceOf(traceId, 'POST /v1/chat/completions')
  const root = spans.find(({ name }) => name.startsWith('POST'))
  expect(root).toMatchObject({ failed: false, attributes: { 'error.type': 'model_not_found' } })
})

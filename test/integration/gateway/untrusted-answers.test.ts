import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { eventsOf } from '../../support/raw-client.ts'
import {
  chatAnswer,
  chatEvent,
  type Script,
  type ScriptedUpstream,
  sendEvents,
  sendWhole,
  type UpstreamCall,
  wholeStream,
} from '../../support/scripted-upstream.ts'

let bench: GatewayBench
let upstream: ScriptedUpstream

beforeAll(async () => {
  bench = await GatewayBench.start()
  upstream = bench.upstream
})
beforeEach(() => upstream.play((call) => sendWhole(call, chatAnswer('hi'))))
afterAll(() => bench?.stop())

describe('an upstream that says no', () => {
  const refuse =
    (status: number, headers: Readonly<Record<string, string>> = {}, body?: string): Script =>
    ({ response }) => {
      const text = body ?? JSON.stringify({ error: { message: 'No.', type: 'x', code: 'y', param: null } })
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text)
    }
  const retryNever = { 'x-should-retry': 'false' }

  test.each([
    [401, {}, 502, 'upstream_auth_failed', retryNever],
    [403, {}, 502, 'upstream_auth_failed', retryNever],
    [404, {}, 502, 'upstream_invalid_response', retryNever],
    [302, { location: 'http://169.254.169.254/' }, 502, 'upstream_invalid_response', retryNever],
    [204, {}, 502, 'upstream_invalid_response', retryNever],
    [429, {}, 429, 'upstream_rate_limited', {}],
    [500, {}, 502, 'upstream_unavailable', {}],
    [503, { 'retry-after': '2' }, 502, 'upstream_unavailable', {}],
    [400, {}, 400, 'invalid_value', {}],
    [422, {}, 400, 'invalid_value', {}],
  ])('with %i %j is answered %i %s', async (theirs, sent, status, code, headers) => {
    for (const stream of [false, true]) {
      upstream.play(refuse(theirs, sent))
      const answer = await bench.ask({ stream })
      expect(bench.failureOf(answer)).toEqual({ status, code })
      expect(answer.headers['x-should-retry']).toBe((headers as Record<string, string>)['x-should-retry'])
      expect(upstream.calls, 'a refusal is never asked again').toHaveLength(1)
    }
  })

  test.each([
    ['30', 30_000, 37_500],
    ['1', 1_000, 1_250],
    ['3600', 60_000, 60_000],
    ['Wed, 21 Oct 2065 07:28:00 GMT', 1_000, 60_000],
    ['-5', 1_000, 1_250],
    ['1e999', 1_000, 60_000],
    ['soon', 1_000, 1_250],
  ])('429 with Retry-After: %s makes the caller wait at most a minute', async (theirs, minMs, maxMs) => {
    upstream.play(refuse(429, { 'retry-after': theirs }))
    const answer = await bench.ask()
    const [waitMs, waitS] = [answer.headers['retry-after-ms'], answer.headers['retry-after']].map(Number)
    expect(waitMs).toBeGreaterThanOrEqual(minMs)
    expect(waitMs).toBeLessThanOrEqual(maxMs)
    expect(waitS).toBe(Math.ceil((waitMs ?? 0) / 1000))
  })

  test('because the prompt is too long is told as that', async () => {
    const body = JSON.stringify({
      error: { message: "This model's maximum context length is 8", code: 'context_length_exceeded' },
    })
    upstream.play(refuse(400, {}, body))
    const { text } = await bench.ask()
    expect(JSON.parse(text).error).toMatchObject({ code: 'context_length_exceeded', param: 'messages' })
  })

  test('with a body that never ends does not hold the caller', async () => {
    upstream.play(({ response, closed }) => {
      response.writeHead(400, { 'content-type': 'application/json' })
      const timer = setInterval(() => response.write('x'.repeat(1_024)), 20)
      void closed.then(() => clearInterval(timer))
    })
    const startedMs = performance.now()
    expect(bench.failureOf(await bench.ask())).toEqual({ status: 400, code: 'invalid_value' })
    expect(performance.now() - startedMs).toBeLessThan(4_000)
  })

  test('with its own address or a control character in the text does not pass it on', async () => {
    const message = 'bad\r\n\u0000value'
    upstream.play(refuse(400, {}, JSON.stringify({ error: { message } })))
    const { text } = await bench.ask()
    expect(JSON.parse(text).error.message).toBe('bad value')
  })
})

describe('a whole answer', () => {
  test('cut in the middle is a failure, not half an answer', async () => {
    upstream.play(({ response, socket }) => {
      const body = chatAnswer('hi')
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length })
      response.write(body.slice(0, 50), () => socket.destroy())
    })
    expect(bench.failureOf(await bench.ask()).status).toBe(502)
    expect(upstream.calls).toHaveLength(1)
  })

  test('of unknown length that stops in the middle is a failure, not half an answer', async () => {
    upstream.play(({ socket }) =>
      socket.end(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n${chatAnswer('hi').slice(0, 60)}`),
    )
    expect(bench.failureOf(await bench.ask()).status).toBe(502)
  })

  test.each([
    ['HTML', 'text/html', '<html><body>It works!</body></html>'],
    ['HTML that says it is JSON', 'application/json', '<html><body>It works!</body></html>'],
    ['nothing', 'application/json', ''],
    ['a number', 'application/json', '7'],
    ['null', 'application/json', 'null'],
    ['a list', 'application/json', '[]'],
    ['an error with status 200', 'application/json', '{"error":{"message":"overloaded"}}'],
    ['JSON that ends early', 'application/json', chatAnswer('x').slice(0, -9)],
    ['an event stream', 'text/event-stream', wholeStream(2).join('')],
    ['bytes', 'application/octet-stream', '\u0000\u0001\u0002'],
  ])('that is %s is 502 upstream_invalid_response', async (_name, type, body) => {
    upstream.play(({ response }) => response.writeHead(200, { 'content-type': type }).end(body))
    const answer = await bench.ask()
    expect(bench.failureOf(answer)).toEqual({ status: 502, code: 'upstream_invalid_response' })
    expect(answer.headers['x-should-retry']).toBe('false')
    expect(upstream.calls).toHaveLength(1)
  })
})

describe('an event stream', () => {
  const stream =
    (...parts: string[]): Script =>
    ({ response }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (const part of parts) response.write(part)
      response.end()
    }
  const good = chatEvent('good ')
  const done = 'data: [DONE]\n\n'

  test.each([
    ['HTML', '<html><body>It works!</body></html>'],
    ['HTML with empty lines', '<html>\n\n<body>It works at 10.1.2.3</body>\n\n</html>\n\n'],
    ['broken JSON', `data: {"choices":[}\n\n${done}`],
    ['a text', `data: "text"\n\n${done}`],
    ['a list', `data: [1]\n\n${done}`],
    ['an answer that is whole', chatAnswer('x')],
    ['bytes', '\u0000\u0001\n\n\u0002'],
    ['an error', 'data: {"error":{"message":"overloaded","code":503}}\n\n'],
    ['nothing', ''],
  ])('that is %s fails before the first byte, with 502', async (_name, text) => {
    upstream.play(stream(text))
    const answer = await bench.ask({ stream: true })
    expect(bench.failureOf(answer).status).toBe(502)
    expect(answer.headers['x-should-retry']).toBe('false')
    expect(upstream.calls).toHaveLength(1)
  })

  test('that says it is HTML fails before the first byte, with 502', async () => {
    upstream.play(({ response }) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>\n\n<p>Sign in</p>\n\n</html>'),
    )
    expect(bench.failureOf(await bench.ask({ stream: true })).status).toBe(502)
  })

  // Later chunks that look whole pass as bytes: their JSON is the client's to read.
  test.each([
    ['an event that is cut', 'data: {"choices":[\n\n'],
    ['a text', 'data: "text"\n\n'],
    ['HTML', '<html>\n\n'],
    ['an error', 'data: {"error":{"message":"overloaded"}}\n\n'],
    ['an error as other servers write it', 'event: error\ndata: {"message":"overloaded","error":true}\n\n'],
  ])('that turns into %s after a chunk fails there', async (_name, text) => {
    upstream.play(stream(good, text, good, done))
    const { chunks } = bench.brokenStream(await bench.ask({ stream: true }))
    expect(chunks).toEqual(eventsOf(good))
  })

  test('in other line ends, with comments, names and split characters, comes through', async () => {
    const bytes = Buffer.from(`: hi\n\nid: 1\r\nevent: chunk\r\n${chatEvent('ä€😀').trim()}\r\n\r\n${done}`)
    upstream.play(async ({ response }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
      for (const byte of bytes) {
        response.write(Buffer.of(byte))
        await new Promise((resolve) => setImmediate(resolve))
      }
      response.end()
    })
    const { text, ended } = await bench.ask({ stream: true })
    expect(ended).toBe('complete')
    expect(text).toContain('ä€😀')
    expect(text).toContain('[DONE]')
  })

  test('in gzip, which nobody asked for, is a failure', async () => {
    upstream.play(({ response }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' })
      response.end(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 10, 10]))
    })
    expect(bench.failureOf(await bench.ask({ stream: true })).status).toBe(502)
  })

  test('after its end is not listened to any more', async () => {
    upstream.play(stream(good, done, chatEvent('late'), done))
    const { text, ended } = await bench.ask({ stream: true })
    expect(ended).toBe('complete')
    expect(text).toBe(good + done)
  })

  test.each<[string, (call: UpstreamCall) => void]>([
    ['lingers', () => {}],
    ['is cut', ({ socket }) => socket.destroy()],
  ])('is complete with its end, also when the connection %s after it', async (_name, then) => {
    upstream.play((call) => void sendEvents(call, [good, done]).then(() => then(call)))
    const startedMs = performance.now()
    const { text, ended } = await bench.ask({ stream: true })
    expect([text, ended]).toEqual([good + done, 'complete'])
    expect(performance.now() - startedMs).toBeLessThan(500)
  })

  test('for a whole answer of several choices: what cannot be read is a failure', async () => {
    for (const bad of ['data: {"choices":[{]}\n\n', 'data: {"choices":7}\n\n', '<html>\n\n']) {
      upstream.play(stream(good, bad, done))
      expect(bench.failureOf(await bench.ask({ n: 2 })).status, bad).toBe(502)
    }
  })
})

describe('headers of an answer', () => {
  test.each([
    ['endless', (call: UpstreamCall) => void floodHeaders(call)],
    ['no HTTP', ({ socket }: UpstreamCall) => void socket.end('SSH-2.0-OpenSSH_9.6\r\n')],
    [
      'of two lengths',
      ({ socket }: UpstreamCall) =>
        void socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\nhello'),
    ],
  ])('that are %s are 502', async (_name, script) => {
    upstream.play(script)
    expect(bench.failureOf(await bench.ask()).status).toBe(502)
  })

  function floodHeaders({ socket, closed }: UpstreamCall): void {
    socket.write('HTTP/1.1 200 OK\r\n')
    let open = true
    void closed.then(() => {
      open = false
    })
    const write = () => {
      while (open && socket.write(`x-${'a'.repeat(1_000)}: b\r\n`));
      if (open) socket.once('drain', write)
    }
    write()
  }
})

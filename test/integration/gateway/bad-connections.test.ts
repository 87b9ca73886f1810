import { Agent } from 'node:http'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { ERROR_CODES } from '../../../src/core/errors.ts'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { drip, exchangeRaw, post, type RawExchange } from '../../support/raw-client.ts'

let bench: GatewayBench

beforeAll(async () => {
  bench = await GatewayBench.start()
})
afterAll(() => bench?.stop())

const CRLF = '\r\n'
const smuggled = ['GET /livez HTTP/1.1', 'host: x', '', ''].join(CRLF)

/** A POST with these further lines, and a body that is a request itself where two readers could disagree. KEY is filled in later. */
function smuggle(lines: readonly string[], body = smuggled): string {
  return [
    'POST /v1/chat/completions HTTP/1.1',
    'host: x',
    'authorization: Bearer KEY',
    'content-type: application/json',
    ...lines,
    '',
    body,
  ].join(CRLF)
}

const get = (...lines: readonly string[]) => ['GET /livez HTTP/1.1', ...lines, '', ''].join(CRLF)

describe('a request that two servers could read in two ways', () => {
  test.each([
    [
      'length and chunked',
      smuggle(['content-length: 4', 'transfer-encoding: chunked'], `0${CRLF}${CRLF}${smuggled}`),
    ],
    [
      'chunked and length',
      smuggle(['transfer-encoding: chunked', 'content-length: 4'], `0${CRLF}${CRLF}${smuggled}`),
    ],
    ['two lengths', smuggle(['content-length: 0', `content-length: ${smuggled.length}`])],
    ['two equal lengths', smuggle(['content-length: 0', 'content-length: 0'])],
    ['a list of lengths', smuggle(['content-length: 0, 0'])],
    ['a length with a sign', smuggle(['content-length: +0'])],
    ['a negative length', smuggle(['content-length: -1'])],
    ['a hexadecimal length', smuggle(['content-length: 0x0'])],
    ['an endless length', smuggle(['content-length: 99999999999999999999999'])],
    ['a folded header', smuggle(['x-a: b', ' transfer-encoding: chunked', 'content-length: 0'])],
    ['a header with a space before its colon', smuggle(['transfer-encoding : chunked'])],
    ['a header that begins with a space', get('host: x', ' x-a: b')],
    ['an unknown transfer encoding', smuggle(['transfer-encoding: xchunked'])],
    ['chunked that is not last', smuggle(['transfer-encoding: chunked, identity'])],
    ['a chunk of negative size', smuggle(['transfer-encoding: chunked'], `-1${CRLF}${smuggled}`)],
    [
      'a chunk of too large a size',
      smuggle(['transfer-encoding: chunked'], `fffffffffffffffff${CRLF}${smuggled}`),
    ],
    ['a chunk whose size is no number', smuggle(['transfer-encoding: chunked'], `xyz${CRLF}${smuggled}`)],
    ['line ends without carriage return', get('host: x').replaceAll(CRLF, '\n')],
    ['one line end without carriage return', `GET /livez HTTP/1.1\nhost: x${CRLF}${CRLF}`],
    ['carriage returns alone', get('host: x').replaceAll(CRLF, '\r')],
    ['a zero byte in a header', get('host: x', 'x-a: b\u0000c')],
    ['a header without a name', get('host: x', ': b')],
    ['a header without a colon', get('host: x', 'nonsense')],
    ['an unknown method', 'FROB /livez HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['an unknown version', 'GET /livez HTTP/9.9\r\nhost: x\r\n\r\n'],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['the start of TLS', Buffer.from('16030100c8010000c40303', 'hex')],
    ['noise', Buffer.from(Array.from({ length: 500 }, (_, at) => (at * 37) % 256))],
  ])('%s: 400, nothing else answered, connection closed', async (_name, bytes) => {
    const { text, closed } = await exchangeRaw(bench.server.origin, withKey(bytes))
    expect(text.match(/HTTP\/1\.1 \d+/g), text).toEqual(['HTTP/1.1 400'])
    expect(text).toMatch(/connection: close/i)
    expect(closed).toBe(true)
    expectContract(text)
  })

  test('that names no host: 400, connection closed', async () => {
    const { text, closed } = await exchangeRaw(bench.server.origin, get('x-a: b'))
    expect(text).toMatch(/^HTTP\/1\.1 400 /)
    expect(closed).toBe(true)
  })

  test('an address with another host is not served from here', async () => {
    const { text } = await exchangeRaw(
      bench.server.origin,
      'GET http://other.example/livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
    )
    expect(text).toMatch(/^HTTP\/1\.1 40[04] /)
  })

  test.each([
    ['one of 20 KB', [`x-a: ${'b'.repeat(20_000)}`]],
    ['many', Array.from({ length: 3_000 }, (_, at) => `x-${at}: b`)],
    ['an address of 20 KB', []],
  ])('headers that are too large (%s): 431 and connection closed', async (name, lines) => {
    const bytes = name.startsWith('an address')
      ? `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`
      : get('host: x', ...lines)
    const { text, closed } = await exchangeRaw(bench.server.origin, bytes)
    expect(text).toMatch(/^HTTP\/1\.1 431 /)
    expect(closed).toBe(true)
    expectContract(text)
  })

  test('two requests in one packet are two requests', async () => {
    const { text } = await exchangeRaw(
      bench.server.origin,
      get('host: x') + get('host: x', 'connection: close'),
    )
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(2)
  })

  test('a wish to speak another protocol is not granted', async () => {
    const upgrade = get(
      'host: x',
      'connection: upgrade, close',
      'upgrade: websocket',
      'sec-websocket-version: 13',
    )
    expect((await exchangeRaw(bench.server.origin, upgrade)).text).not.toMatch(/^HTTP\/1\.1 101/)
    const tunnel = 'CONNECT 169.254.169.254:80 HTTP/1.1\r\nhost: 169.254.169.254:80\r\n\r\n'
    expect((await exchangeRaw(bench.server.origin, tunnel)).text).not.toMatch(/^HTTP\/1\.1 2/)
  })

  function withKey(bytes: string | Buffer): string | Buffer {
    return typeof bytes === 'string' ? bytes.replaceAll('KEY', bench.server.apiKey) : bytes
  }

  function expectContract(text: string): void {
    expect(text).toMatch(/x-request-id: req_[0-9a-f]{24}/i)
    const { error } = JSON.parse(text.slice(text.indexOf(CRLF + CRLF)))
    expect(Object.keys(error)).toEqual(['message', 'type', 'param', 'code'])
    expect(ERROR_CODES).toContain(error.code)
    expect(text).not.toMatch(/HPE_|node_modules|\bat /)
  }
})

describe('a body', () => {
  const body = JSON.stringify({ model: 'far', messages: [{ role: 'user', content: 'Hello' }] })
  const sendAs = (contentType: string | string[] | undefined) =>
    post(`${bench.server.url}/chat/completions`, {
      headers: {
        authorization: `Bearer ${bench.server.apiKey}`,
        'content-type': contentType as string | undefined,
      },
      body,
    })

  test.each([
    'application/json',
    'APPLICATION/JSON',
    'application/json; charset=utf-8',
    'application/json;charset=utf-8',
  ])('of content type %j is read', async (contentType) => {
    expect(await sendAs(contentType)).toMatchObject({ status: 200 })
  })

  test.each([
    ['application/json\ta'],
    ['application/json x'],
    ['application/jsonx'],
    ['application/json, text/plain'],
    ['text/plain'],
    ['text/plain; application/json'],
    ['application/x-www-form-urlencoded'],
    ['multipart/form-data; boundary=x'],
    [''],
    [undefined],
    [['text/plain', 'application/json']],
  ])('of content type %j is refused with 415', async (contentType) => {
    const answer = await sendAs(contentType)
    expect(bench.failureOf(answer)).toEqual({ status: 415, code: 'unsupported_media_type' })
  })

  test('with two content types is read as the first one says, or refused', async () => {
    expect([200, 400, 415]).toContain((await sendAs(['application/json', 'text/plain'])).status)
  })

  test('that is too large is told so, also to a client that sends all of it before it listens', async () => {
    const large = Buffer.alloc(20 * 2 ** 20, ' ')
    const agent = new Agent({ keepAlive: true })
    onTestFinished(() => agent.destroy())
    for (let time = 0; time < 5; time++) {
      const answer = await post(`${bench.server.url}/chat/completions`, {
        headers: { authorization: `Bearer ${bench.server.apiKey}` },
        body: large,
        agent,
      })
      expect(bench.failureOf(answer)).toEqual({ status: 413, code: 'request_too_large' })
    }
  })

  test('that is too large and comes in chunks of unknown number is cut off', async () => {
    const head = smuggle(['transfer-encoding: chunked'], '').replace('KEY', bench.server.apiKey)
    const chunk = `100000${CRLF}${'x'.repeat(2 ** 20)}${CRLF}`
    const { text, closed } = await exchangeRaw(bench.server.origin, head + chunk.repeat(10), 5_000)
    expect(closed).toBe(true)
    // The answer may be lost where the client is still sending; a second one, or a success, may not come.
    expect(text).not.toMatch(/HTTP\/1\.1 [25]/)
  })
})

describe('clients that drip', () => {
  const BEAT_MS = 400
  const HEADERS_MAX_MS = 7_500
  const BODY_MAX_MS = 17_000
  const head = (...lines: string[]) => ['POST /v1/chat/completions HTTP/1.1', 'host: x', ...lines].join(CRLF)

  test('are closed in time, and hold up nobody meanwhile', async () => {
    const { origin, apiKey } = bench.server
    const key = `authorization: Bearer ${apiKey}`
    const dripHeaders = () =>
      drip(origin, { first: head(), next: () => `${CRLF}x-a: b`, beatMs: BEAT_MS }, HEADERS_MAX_MS)
    const silent = () => exchangeRaw(origin, '', HEADERS_MAX_MS)
    const dripBody = (...lines: string[]) => {
      const first = `${head('content-type: application/json', 'content-length: 100000', ...lines)}${CRLF}${CRLF}{`
      return drip(origin, { first, next: () => ' ', beatMs: BEAT_MS }, BODY_MAX_MS)
    }
    const many = <T>(make: () => Promise<T>) => Promise.all(Array.from({ length: 20 }, make))
    const [headers, silence, bodies, strangers, healthy] = await Promise.all([
      many(dripHeaders),
      many(silent),
      many(() => dripBody(key)),
      many(() => dripBody()),
      healthyMeanwhile(),
    ])
    const open = (all: readonly RawExchange[]) => all.filter(({ closed }) => !closed).length
    expect.soft(open(headers), 'open with headers that drip').toBe(0)
    expect.soft(open(silence), 'open without a word').toBe(0)
    expect.soft(open(bodies), 'open with a body that drips').toBe(0)
    expect.soft(open(strangers), 'open with a body that drips, without a key').toBe(0)
    for (const { text } of headers) expect(text).toMatch(/^HTTP\/1\.1 408 /)
    expect(healthy).toBeLessThan(500)
  }, 30_000)

  /** The slowest of many requests, in ms. */
  async function healthyMeanwhile(): Promise<number> {
    let slowest = 0
    for (let time = 0; time < 20; time++) {
      const startedMs = performance.now()
      expect((await bench.ask()).status).toBe(200)
      slowest = Math.max(slowest, performance.now() - startedMs)
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    return slowest
  }
})

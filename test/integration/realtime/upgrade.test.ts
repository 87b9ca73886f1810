import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { administratorKey, sendJson } from '../../support/http-administration.ts'
import { exchangeRaw } from '../../support/raw-client.ts'
import { type OpenOptions, type RefusedUpgrade, SocketClient } from '../../support/socket-client.ts'

const PAGE = 'https://app.example'
const HANDSHAKES_PER_SECOND = 40
const CONNECTIONS_PER_KEY = 12

let bench: GatewayBench
let origin: string
let apiKey: string
let administrator: string
/** Every test comes from addresses of its own, as a proxy tells them: handshakes are counted by address. */
let address = 0

beforeAll(async () => {
  const gateway = { trustedProxies: ['127.0.0.1'] }
  const realtime = {
    origins: [PAGE],
    handshakesPerSecond: HANDSHAKES_PER_SECOND,
    connectionsPerKey: CONNECTIONS_PER_KEY,
  }
  bench = await GatewayBench.start(gateway, {}, { realtime })
  origin = bench.server.origin
  apiKey = bench.server.apiKey
  administrator = await administratorKey(bench.server)
})
afterAll(() => bench?.stop())

function from(options: OpenOptions = {}): OpenOptions {
  return {
    ...options,
    headers: { 'x-forwarded-for': `192.0.2.${(address++ % 200) + 1}`, ...options.headers },
  }
}

function refused(options: OpenOptions): Promise<RefusedUpgrade> {
  return SocketClient.refused(origin, from(options))
}

/** Opens a connection, says hello, and goes. @returns the subprotocol that the server chose */
async function opens(options: OpenOptions): Promise<string> {
  const client = await SocketClient.open(origin, from(options))
  await client.hello()
  await client.close()
  return client.ws.protocol
}

function bearer(credential: string): string {
  return `hf.bearer.${Buffer.from(credential).toString('base64url')}`
}

async function ticket(key: string, page?: string): Promise<string> {
  const body = page === undefined ? {} : { origin: page }
  const answer = await sendJson(bench.server, key, { method: 'POST', path: '/v1/ws/tickets', body })
  expect(answer).toMatchObject({ status: 200, body: { expires_in: 30 } })
  return `hf.ticket.${(answer.body as { ticket?: string }).ticket}`
}

describe('another site cannot open a socket in the name of its visitor', () => {
  test.each([
    ['no page at all', undefined],
    ['the allowed page', PAGE],
    ['the same in other letters', 'HTTPS://APP.Example'],
    ["the same with its scheme's port", `${PAGE}:443`],
  ])('%s may', async (_name, page) => {
    expect(await opens({ apiKey, ...(page === undefined ? {} : { page }) })).toBe('helixflow.v1')
  })

  test.each([
    ['another page', 'https://evil.example'],
    ['null', 'null'],
    ['nothing', ''],
    ['a longer name', `${PAGE}.evil`],
    ['a name that ends like it', 'https://evilapp.example'],
    ['a page below it', 'https://sub.app.example'],
    ['another scheme', 'http://app.example'],
    ['another port', `${PAGE}:8443`],
    ['a path', `${PAGE}/x`],
    ['a user', 'https://app.example@evil.example'],
    ['two pages', `${PAGE}, https://evil.example`],
    ['a backslash', `${PAGE}\\@evil.example`],
    ['a wildcard', '*'],
  ])('%s may not', async (_name, page) => {
    expect(await refused({ apiKey, page })).toMatchObject({ status: 403, code: 'origin_not_allowed' })
  })

  test('nor with a credential that only the visitor has', async () => {
    const protocols = ['helixflow.v1', bearer(apiKey)]
    expect(await refused({ protocols, page: 'https://evil.example' })).toMatchObject({ status: 403 })
  })
})

describe('a credential', () => {
  test('comes as a subprotocol too, and is not sent back', async () => {
    expect(await opens({ protocols: ['helixflow.v1', bearer(apiKey)], page: PAGE })).toBe('helixflow.v1')
  })

  test.each([
    ['none', {}, 401, 'missing_api_key'],
    ['nonsense', { apiKey: 'nonsense' }, 401, 'invalid_api_key'],
    ['a wrong subprotocol', { protocols: ['helixflow.v1', bearer('nonsense')] }, 401, 'invalid_api_key'],
    ['an empty subprotocol', { protocols: ['helixflow.v1', 'hf.bearer.'] }, 401, 'invalid_api_key'],
    [
      'an unknown ticket',
      { protocols: ['helixflow.v1', `hf.ticket.${'A'.repeat(43)}`] },
      401,
      'invalid_token',
    ],
    ['an impossible ticket', { protocols: ['helixflow.v1', 'hf.ticket.x'] }, 401, 'invalid_token'],
  ] as const)('%s is refused', async (_name, options, status, code) => {
    expect(await refused(options)).toMatchObject({ status, code })
  })

  test('twice is refused: nobody should have to guess which one counts', async () => {
    const protocols = ['helixflow.v1', bearer(apiKey)]
    expect(await refused({ apiKey, protocols })).toMatchObject({ status: 400, code: 'invalid_value' })
  })

  test('among subprotocols counts nowhere but at a socket', async () => {
    const refusal = await refused({ protocols: [bearer(apiKey)], path: '/v1/models' })
    expect(refusal).toMatchObject({ status: 401, code: 'missing_api_key' })
  })
})

describe('a ticket', () => {
  test('opens one connection, from the page that it was made for', async () => {
    const one = await ticket(apiKey, PAGE)
    expect(await opens({ protocols: ['helixflow.v1', one], page: PAGE })).toBe('helixflow.v1')
    const again = await refused({ protocols: ['helixflow.v1', one], page: PAGE })
    expect(again).toMatchObject({ status: 401, code: 'invalid_token' })
  })

  test('of one page is nothing for a program, and is gone when it was tried', async () => {
    const one = await ticket(apiKey, PAGE)
    expect(await refused({ protocols: ['helixflow.v1', one] })).toMatchObject({ code: 'invalid_token' })
    expect(await refused({ protocols: ['helixflow.v1', one], page: PAGE })).toMatchObject({ status: 401 })
  })

  test('is used once, also when it is presented many times at once', async () => {
    const protocols = ['helixflow.v1', await ticket(apiKey)]
    const tries = await Promise.allSettled(Array.from({ length: 8 }, () => opens({ protocols })))
    expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  test('is worth no more than the key behind it', async () => {
    const made = await sendJson(bench.server, administrator, {
      method: 'POST',
      path: '/admin/v1/keys',
      body: { name: 'short' },
    })
    const one = await ticket(made.body.plaintext ?? '')
    await sendJson(bench.server, administrator, { method: 'DELETE', path: `/admin/v1/keys/${made.body.id}` })
    await expect
      .poll(() => refused({ apiKey: made.body.plaintext }))
      .toMatchObject({ code: 'api_key_revoked' })
    expect(await refused({ protocols: ['helixflow.v1', one] })).toMatchObject({ code: 'api_key_revoked' })
  })

  test('is not made for a page that may not open a socket', async () => {
    const body = { origin: 'https://evil.example' }
    const answer = await sendJson(bench.server, apiKey, { method: 'POST', path: '/v1/ws/tickets', body })
    expect(answer).toMatchObject({ status: 403, code: 'origin_not_allowed' })
  })
})

describe('what is refused is refused as HTTP, before the protocol changes', () => {
  test.each([
    ['parameters', { path: '/ws?token=hf_live_x' }, 400, 'unsupported_parameter'],
    ['another subprotocol alone', { protocols: ['graphql-ws'] }, 400, 'invalid_value'],
    ['an old version', { protocolVersion: 8 }, 426, 'upgrade_required'],
    ['an unknown address', { path: '/nowhere' }, 404, 'unknown_url'],
    ['an address that takes other methods', { path: '/v1/chat/completions' }, 405, 'method_not_allowed'],
    ['an address below it', { path: '/ws/x' }, 404, 'unknown_url'],
  ] as const)('%s', async (_name, options, status, code) => {
    const refusal = await refused({ apiKey, ...options })
    expect(refusal).toMatchObject({ status, code })
    expect(refusal.headers['x-request-id']).toMatch(/^req_/)
  })

  test('an ordinary route answers an upgrade as it answers everybody', async () => {
    const text = await raw(['GET /livez HTTP/1.1', ...UPGRADE])
    expect(text).toMatch(/^HTTP\/1.1 200 /)
    expect(text).toMatch(/{"status":"ok"}$/)
  })

  test('a request without an upgrade is told that there is a socket', async () => {
    const answer = await fetch(`${origin}/ws`, { headers: { authorization: `Bearer ${apiKey}` } })
    expect(answer.status).toBe(426)
    expect(answer.headers.get('upgrade')).toBe('websocket')
    expect(await answer.json()).toMatchObject({ error: { code: 'upgrade_required' } })
  })

  test.each([
    ['no key', ['sec-websocket-version: 13'], 400],
    ['a short key', ['sec-websocket-version: 13', 'sec-websocket-key: c2hvcnQ='], 400],
    ['no version', ['sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='], 426],
    ['a newer version', ['sec-websocket-version: 14', 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='], 426],
    [
      'a broken list of subprotocols',
      [
        'sec-websocket-version: 13',
        'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-protocol: ,,',
      ],
      400,
    ],
  ])('a handshake with %s', async (_name, lines, status) => {
    const text = await raw([
      'GET /ws HTTP/1.1',
      ...['host: x', 'connection: upgrade', 'upgrade: websocket', `authorization: Bearer ${apiKey}`],
      ...lines,
    ])
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    if (status === 426) expect(text).toMatch(/sec-websocket-version: 13\r\n/i)
  })

  test('what an upgrade answers has the headers and the log line of every request', async () => {
    const client = await new Promise<Record<string, unknown>>((resolve, reject) => {
      const headers = { authorization: `Bearer ${apiKey}` }
      const ws = new WebSocket(`${origin.replace('http', 'ws')}/ws`, { headers })
      ws.once('upgrade', (response) => resolve(response.headers)).once('error', reject)
      ws.once('open', () => ws.terminate())
    })
    expect(client['x-request-id']).toMatch(/^req_/)
    const [line] = await bench.server.logged(new RegExp(`.*${client['x-request-id']}.*`))
    expect(JSON.parse(line)).toMatchObject({ route: '/ws', status: 101, method: 'GET' })
  })
})

describe('limits of connections', () => {
  test('an address opens so many in a second, and is told when to come back', async () => {
    const headers = { 'x-forwarded-for': '198.51.100.7' }
    const tries = await Promise.allSettled(
      Array.from({ length: 2 * HANDSHAKES_PER_SECOND }, () =>
        SocketClient.open(origin, { apiKey, headers, path: '/ws?no' }),
      ),
    )
    const refusals = tries.map((one) => (one as { reason: RefusedUpgrade }).reason)
    const limited = refusals.filter(({ status }) => status === 429)
    expect(limited.length).toBeGreaterThan(0)
    expect(refusals.length - limited.length).toBeGreaterThanOrEqual(HANDSHAKES_PER_SECOND)
    expect(limited[0]).toMatchObject({ code: 'rate_limit_exceeded' })
    expect(Number(limited[0]?.headers['retry-after-ms'])).toBeGreaterThan(0)
  })

  test('a key has so many at once, and another key has its own', async () => {
    const made = await sendJson(bench.server, administrator, {
      method: 'POST',
      path: '/admin/v1/keys',
      body: { name: 'many' },
    })
    const key = made.body.plaintext
    const open = await Promise.all(
      Array.from({ length: CONNECTIONS_PER_KEY }, () => SocketClient.open(origin, from({ apiKey: key }))),
    )
    const refusal = await refused({ apiKey: key })
    expect(refusal).toMatchObject({ status: 429, code: 'connection_limit_exceeded' })
    expect(Number(refusal.headers['retry-after'])).toBeGreaterThan(0)
    expect(await opens({ apiKey })).toBe('helixflow.v1')
    await open[0]?.close()
    await expect.poll(() => opens({ apiKey: key }).catch(() => '')).toBe('helixflow.v1')
    await Promise.all(open.map((one) => one.close()))
  })
})

describe('a client that offers another protocol', () => {
  const h2c = {
    connection: 'Upgrade, HTTP2-Settings',
    upgrade: 'h2c',
    'http2-settings': 'AAMAAABkAARAAAAAAAIAAAAA',
  }

  test('gets the ordinary answer to a request with a body', async () => {
    const { status, text } = await bench.ask({}, { headers: h2c })
    expect(status).toBe(200)
    expect(JSON.parse(text)).toMatchObject({ choices: [{ message: { content: 'hi' } }] })
  })

  test('also when the body comes later, in pieces, and more requests follow on the connection', async () => {
    const body = JSON.stringify({ model: 'far', messages: [{ role: 'user', content: 'x'.repeat(100_000) }] })
    const head = [
      'POST /v1/chat/completions HTTP/1.1',
      ...['host: x', `authorization: Bearer ${apiKey}`, 'content-type: application/json'],
      ...[`content-length: ${body.length}`, 'Connection: Upgrade', 'Upgrade: h2c'],
    ]
    const text = await raw(head, `${body}GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)
    expect(text.match(/HTTP\/1.1 200 /g)).toHaveLength(2)
    expect(text).toMatch(/{"status":"ok"}$/)
  })

  test.each(['h2c', 'TLS/1.0', 'websocket, h2c', 'HTTP/2.0'])('%s', async (upgrade) => {
    const text = await raw([
      'GET /livez HTTP/1.1',
      'host: x',
      'connection: upgrade, close',
      `upgrade: ${upgrade}`,
    ])
    expect(text).toMatch(/^HTTP\/1.1 200 /)
  })

  test('a POST that asks for a WebSocket is an ordinary POST', async () => {
    const { status } = await bench.ask({}, { headers: { connection: 'upgrade', upgrade: 'websocket' } })
    expect(status).toBe(200)
  })

  test('an upgrade that was sent after another request waits for its answer', async () => {
    const first = 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n'
    const text = await exchangeRaw(
      origin,
      `${first}${['GET /readyz HTTP/1.1', ...UPGRADE, '', ''].join('\r\n')}`,
    )
    expect(text.text.match(/HTTP\/1.1 \d+ /g)).toHaveLength(2)
    expect(text.text.indexOf('"ok"')).toBeLessThan(text.text.indexOf('"reasons"'))
    expect(text.closed).toBe(true)
  })
})

const UPGRADE = [
  ...['host: x', 'connection: upgrade', 'upgrade: websocket'],
  ...['sec-websocket-version: 13', 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='],
]

async function raw(lines: readonly string[], body = ''): Promise<string> {
  const { text, closed } = await exchangeRaw(origin, `${[...lines, '', ''].join('\r\n')}${body}`, 1_500)
  expect(closed || text.includes('HTTP/1.1')).toBe(true)
  return text
}

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { OPERATIONS } from '../../src/contracts/administration/operations.ts'
import { helixflow } from '../support/helixflow.ts'
import { childrenOf, processesWith } from '../support/processes.ts'
import { type Server, startServer } from '../support/server.ts'

let server: Server
beforeAll(async () => {
  server = await startServer({
    config: {
      models: { contextLength: 2_048, slots: 8 },
      gateway: { keyCacheTtl: '2s', keyGrace: '3s' },
      prices: { tiny: { input: 0.15, output: '0.60' } },
    },
  })
})
afterAll(async () => void (await server?.stop()))

async function makeKey(...options: string[]): Promise<{ id: string; plaintext: string }> {
  return JSON.parse((await helixflow(server, 'keys', 'create', 'k', '--json', ...options)).out)
}

function send(
  method: string,
  path: string,
  key?: string,
  body?: object,
  headers: Record<string, string> = {},
) {
  return fetch(server.origin + path, {
    method,
    headers: {
      ...headers,
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
}

async function codeOf(answer: Promise<Response>): Promise<string> {
  const response = await answer
  const { error } = (await response.json()) as { error?: { code: string } }
  return error?.code ?? String(response.status)
}

/** All that came, also where the connection was then cut. */
async function readToEnd(response: Response): Promise<string> {
  let text = ''
  const decoder = new TextDecoder()
  try {
    for await (const bytes of response.body ?? [])
      text += decoder.decode(bytes as Uint8Array, { stream: true })
  } catch {
    text += '<cut>'
  }
  return text
}

const chat = (change: object = {}) => ({
  model: 'tiny',
  messages: [{ role: 'user', content: 'Hello' }],
  max_tokens: 2,
  ...change,
})

test('every route but health and documents wants a credential', async () => {
  const routes = [
    ...Object.values(OPERATIONS).map(({ method, path }) => [method, `/admin/v1${path.replace('{id}', 'x')}`]),
    ['GET', '/v1/models'],
    ['POST', '/v1/chat/completions'],
    ['POST', '/v1/embeddings'],
    ['POST', '/v1/responses'],
    ['GET', '/v1/responses/resp_x'],
    ['DELETE', '/v1/responses/resp_x'],
    ['POST', '/v1/responses/resp_x/cancel'],
    ['GET', '/v1/responses/resp_x/input_items'],
    ['GET', '/v1/streams/str_x'],
    ['DELETE', '/v1/streams/str_x'],
    ['POST', '/tokenize'],
  ] as const
  for (const [method, path] of routes) {
    const body = method === 'POST' || method === 'PATCH' ? {} : undefined
    expect(await codeOf(send(method, path, undefined, body)), path).toBe('missing_api_key')
    for (const garbage of ['x', 'hf_live_x', `hf_live_${'a'.repeat(16)}_${'b'.repeat(43)}_cccccc`])
      expect(await codeOf(send(method, path, garbage, body)), path).toBe('invalid_api_key')
  }
  for (const path of ['/livez', '/readyz', '/openapi.json', '/docs'])
    expect((await fetch(server.origin + path)).status).toBe(200)
})

test('an API key administers within its scopes', async () => {
  const { plaintext } = await makeKey('--scopes', 'keys.write,keys.read,service_accounts.write')
  const made = await send('POST', '/admin/v1/keys', plaintext, {
    name: 'from a program',
    scopes: ['keys.read'],
  })
  expect(made.status).toBe(200)
  const { id } = (await made.json()) as { id: string }
  const listed = (await (await send('GET', '/admin/v1/keys?limit=1', plaintext)).json()) as {
    data: { id: string }[]
  }
  expect(listed.data[0]?.id).toBe(id)
  expect(await codeOf(send('DELETE', `/admin/v1/keys/${id}`, plaintext))).toBe('200')
  expect(await codeOf(send('GET', '/admin/v1/audit', plaintext))).toBe('insufficient_permissions')
  expect(await codeOf(send('POST', '/v1/chat/completions', plaintext, chat()))).toBe(
    'insufficient_permissions',
  )
  const twice = send('POST', `/admin/v1/keys/${id}/rotate?id=other`, plaintext)
  expect(await codeOf(twice)).toBe('invalid_value')
})

test('limits are set from the command line and seen by the key that they bind', async () => {
  const { id, plaintext } = await makeKey('--scopes', 'limits.read,projects.read')
  const on = ['--key-id', id]
  const made = await helixflow(server, 'limits', 'set', 'tokens', '1000', '--window', '1h', ...on, '--json')
  const rule = JSON.parse(made.out)
  expect(rule).toMatchObject({ keyId: id, measure: 'tokens', limit: 1_000, window: '1h' })
  await helixflow(server, 'limits', 'set', 'money', '12.50', '--period', 'month', ...on)
  const listed = await helixflow(server, 'limits', 'list', ...on)
  expect(listed.out).toMatch(/money +- +12\.5 /)
  const answer = await send('GET', '/admin/v1/limits/effective', plaintext)
  const { data } = (await answer.json()) as { data: { limit: unknown }[] }
  expect(data.map(({ limit }) => limit).sort()).toEqual([1_000, '12.5'])
  expect(await codeOf(send('DELETE', `/admin/v1/limits/${rule.id}`, plaintext))).toBe(
    'insufficient_permissions',
  )
  expect((await helixflow(server, 'limits', 'remove', rule.id)).code).toBe(0)
  const bad = await helixflow(server, 'limits', 'set', 'tokens', '1000')
  expect(bad.code).not.toBe(0)
  expect(bad.err).toContain("'window'")
})

test('usage says what requests cost by the prices that are set', async () => {
  const { id, plaintext } = await makeKey()
  const answer = await send('POST', '/v1/chat/completions', plaintext, chat())
  const { usage } = (await answer.json()) as {
    usage: { prompt_tokens: number; completion_tokens: number }
  }
  const costOfRecord = async () => {
    const { data } = JSON.parse((await helixflow(server, 'usage', 'requests', '--json')).out)
    return (data as { keyId: string; cost: string }[]).find(({ keyId }) => keyId === id)?.cost
  }
  const billionths = 150 * usage.prompt_tokens + 600 * usage.completion_tokens
  await expect
    .poll(costOfRecord, { timeout: 10_000 })
    .toBe(String((billionths / 1e9).toFixed(9)).replace(/0+$/, ''))
})

test('the same Idempotency-Key over HTTP makes one key', async () => {
  const { plaintext } = await makeKey('--scopes', 'keys.write,service_accounts.write')
  const post = () =>
    send(
      'POST',
      '/admin/v1/keys',
      plaintext,
      { name: 'once', scopes: ['keys.write'] },
      { 'idempotency-key': 'abc' },
    )
  const [first, second] = await Promise.all([post(), post()])
  expect(await first.json()).toEqual(await second.json())
})

describe('a key', () => {
  test('with a list of models sees and uses those alone', async () => {
    const { plaintext } = await makeKey('--models', 'another-model')
    const models = (await (await send('GET', '/v1/models', plaintext)).json()) as { data: unknown[] }
    expect(models.data).toEqual([])
    expect(await codeOf(send('GET', '/v1/models/tiny', plaintext))).toBe('model_not_found')
    const mine = await send('POST', '/v1/chat/completions', plaintext, chat())
    const missing = await send('POST', '/v1/chat/completions', server.apiKey, chat({ model: 'none' }))
    const text = async (response: Response, model: string) => (await response.text()).replaceAll(model, 'M')
    expect(mine.status).toBe(404)
    expect(await text(mine, 'tiny')).toBe(await text(missing, 'none'))
  })

  test('is good at its addresses alone, whatever a header says', async () => {
    const elsewhere = await makeKey('--ip-rules', '10.0.0.0/8,2001:db8::/32')
    const answer = send('GET', '/v1/models', elsewhere.plaintext, undefined, {
      'x-forwarded-for': '10.1.2.3',
    })
    expect(await codeOf(answer)).toBe('ip_not_authorized')
    const here = await makeKey('--ip-rules', '127.0.0.1,10.0.0.0/8')
    expect((await send('GET', '/v1/models', here.plaintext)).status).toBe(200)
  })
})

test('a revocation ends the running streams of its key, and no others', async () => {
  const [doomed, spared, admin] = await Promise.all([
    makeKey(),
    makeKey(),
    makeKey('--scopes', 'keys.write,service_accounts.write'),
  ])
  const open = async (key: string) => {
    const response = await send(
      'POST',
      '/v1/chat/completions',
      key,
      chat({ max_tokens: 1_900, stream: true }),
    )
    expect(response.status).toBe(200)
    return { text: readToEnd(response) }
  }
  const streams = await Promise.all([doomed, doomed, doomed, spared].map(({ plaintext }) => open(plaintext)))
  expect((await send('DELETE', `/admin/v1/keys/${doomed.id}`, admin.plaintext)).status).toBe(200)
  const texts = await Promise.all(streams.slice(0, 3).map(({ text }) => text))
  for (const text of texts) {
    expect(text).toMatch(/"code":"api_key_revoked"[^<]*<cut>$/)
    expect(text).not.toContain('[DONE]')
  }
  expect(await streams[3]?.text).toContain('[DONE]')
  expect(await codeOf(send('GET', '/v1/models', doomed.plaintext))).toBe('api_key_revoked')
})

test('with a frozen database known keys go on for the grace, unknown ones are answered 503', async () => {
  const [known, unknown] = await Promise.all([makeKey(), makeKey()])
  expect((await send('GET', '/v1/models', known.plaintext)).status).toBe(200)
  const [postmaster = -1] = processesWith(`-D ${server.home}`)
  const database = [postmaster, ...childrenOf(postmaster)]
  expect(database.length).toBeGreaterThan(1)
  for (const pid of database) process.kill(pid, 'SIGSTOP')
  try {
    expect(await codeOf(send('GET', '/v1/models', unknown.plaintext))).toBe('storage_unavailable')
    // Past the time of trust, within the grace.
    let last = 200
    const codes = new Set<string>()
    for (const endsMs = performance.now() + 15_000; last === 200 && performance.now() < endsMs; ) {
      const response = await send('GET', '/v1/models', known.plaintext)
      last = response.status
      if (last !== 200) codes.add(((await response.json()) as { error: { code: string } }).error.code)
    }
    // Then nobody is let in on old knowledge, and nobody is told that their key is bad.
    expect([...codes]).toEqual(['storage_unavailable'])
  } finally {
    for (const pid of database) process.kill(pid, 'SIGCONT')
  }
  await expect
    .poll(async () => (await send('GET', '/v1/models', unknown.plaintext)).status, { timeout: 20_000 })
    .toBe(200)
})

import { afterAll, beforeAll, expect, test } from 'vitest'
import { ApartPlatform } from '../support/apart-platform.ts'
import { helixflow } from '../support/helixflow.ts'
import { rotateUnderLoad } from '../support/key-rotation.ts'
import type { RedisServer } from '../support/redis.ts'
import { chatAnswer, ScriptedUpstream, sendWhole } from '../support/scripted-upstream.ts'
import type { Server } from '../support/server.ts'

let platform: ApartPlatform
/** Two gateways on one auth service, as on three machines. */
let first: Server
let second: Server
let redis: RedisServer
let upstream: ScriptedUpstream
beforeAll(async () => {
  upstream = await ScriptedUpstream.start((call) => sendWhole(call, chatAnswer('hi')))
  platform = await ApartPlatform.start(2, {
    config: {
      gateway: { keyCacheTtl: '1s' },
      upstreams: [{ name: 'far', url: upstream.url, models: ['far'], slots: 32 }],
      prices: { far: { input: 1_000, output: 1_000 } },
    },
  })
  const [one, other] = platform.gateways
  if (!one || !other) throw new Error('two were started')
  first = one
  second = other
  redis = platform.redis
})
afterAll(async () => {
  await platform?.stop()
  await upstream?.stop()
})

function models(server: Server, key: string): Promise<number> {
  const headers = { authorization: `Bearer ${key}` }
  return fetch(`${server.url}/models`, { headers }).then(({ status }) => status)
}

test('a key made at one gateway works at the other, and ends at both', async () => {
  // Only the first start on a new database makes a key.
  expect([first.apiKey, second.apiKey].map((key) => key !== '')).toEqual([true, false])
  expect(await models(second, first.apiKey)).toBe(200)
  const key = JSON.parse((await helixflow(second, 'keys', 'create', 'from afar', '--json')).out)
  expect([await models(first, key.plaintext), await models(second, key.plaintext)]).toEqual([200, 200])
  expect((await helixflow(first, 'keys', 'revoke', key.id)).code).toBe(0)
  await expect.poll(() => models(second, key.plaintext), { timeout: 1_000 }).toBe(401)
})

test('requests are answered by the engine beside the gateway, and accounted in the one database', async () => {
  for (const server of [first, second]) {
    const answer = await fetch(`${server.url}/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${first.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 3 }),
    })
    expect(answer.status).toBe(200)
  }
  const requests = async () => {
    const { out } = await helixflow(first, 'usage', 'summary', '--group-by', 'model', '--json')
    return (JSON.parse(out) as { data: { requests: number }[] }).data[0]?.requests
  }
  await expect.poll(requests, { timeout: 15_000 }).toBe(2)
})

/** A key with a rule of its own. */
async function limitedKey(...rule: readonly string[]): Promise<string> {
  const key = JSON.parse((await helixflow(first, 'keys', 'create', 'limited', '--json')).out)
  const { code, err } = await helixflow(first, 'limits', 'set', ...rule, '--key-id', key.id)
  expect(code, err).toBe(0)
  return key.plaintext
}

async function ask(server: Server, key: string, change: object = {}): Promise<Response> {
  return fetch(`${server.url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'far', messages: [{ role: 'user', content: 'Hi' }], ...change }),
  })
}

/** Both in turn, so many times; how many were granted. */
async function granted(key: string, times: number): Promise<number> {
  const statuses: number[] = []
  for (let sent = 0; sent < times; sent++) {
    const server = sent % 2 === 0 ? first : second
    statuses.push((await ask(server, key)).status)
  }
  expect(statuses.filter((status) => status !== 200 && status !== 429)).toEqual([])
  return statuses.filter((status) => status === 200).length
}

test('an answer that one gateway made is a hit at the other', async () => {
  const same = { temperature: 0, messages: [{ role: 'user', content: 'the same for both' }] }
  const state = async (server: Server) =>
    (await ask(server, first.apiKey, same)).headers.get('x-helixflow-cache')
  expect(await state(first)).toBe('miss')
  // It is kept behind the answer.
  await expect.poll(() => redis.command('KEYS', '*:answer:*')).not.toBe('')
  expect(await state(second)).toBe('hit')
})

test('a limit is one limit, whichever gateway is asked, also while Redis is away', async () => {
  const key = await limitedKey('requests', '5', '--window', '1h', '--algorithm', 'sliding-window')
  expect(await granted(key, 8)).toBe(5)
  const other = await limitedKey('requests', '6', '--window', '1h', '--algorithm', 'sliding-window')
  expect(await granted(other, 2)).toBe(2)
  await redis.kill()
  // What the others took is not known: their shares are what was left.
  expect(await granted(other, 10)).toBeLessThanOrEqual(4)
  await redis.startAgain()
  await expect.poll(() => ask(first, key).then(({ status }) => status)).toBe(429)
})

test('a budget goes on in the database while Redis is away, and is not overdrawn', async () => {
  // An answer costs 0.008, and may cost 0.1 and more.
  const key = await limitedKey('money', '1.5', '--period', 'month')
  const costly = () => Promise.all([first, second].map((server) => ask(server, key, { max_tokens: 300 })))
  expect((await costly()).map(({ status }) => status)).toEqual([200, 200])
  await redis.kill()
  const statuses: number[] = []
  for (let round = 0; round < 5; round++) statuses.push(...(await costly()).map(({ status }) => status))
  expect(statuses).toContain(200)
  expect(statuses.filter((status) => status !== 200 && status !== 429)).toEqual([])
  await redis.startAgain()
})

test('a key that is rotated at one gateway fails at neither, and dies at both at its stated second', () =>
  rotateUnderLoad([first, second], { rotations: 1, seed: 8 }))

test('while the auth service is away known keys go on, and it is found again when it is back', async () => {
  const unknown = JSON.parse((await helixflow(first, 'keys', 'create', 'unused', '--json')).out)
  expect(await models(first, first.apiKey)).toBe(200)
  await platform.stopAuth('SIGKILL')
  expect(await models(first, unknown.plaintext)).toBe(503)
  expect(await models(first, first.apiKey)).toBe(200)
  const ready = await fetch(`${first.origin}/readyz`)
  expect([ready.status, await ready.text()]).toEqual([503, expect.stringContaining('storage_unavailable')])
  const { authUrl } = platform
  expect(await platform.startAuth(Number(new URL(authUrl).port))).toBe(authUrl)
  await expect.poll(() => models(first, unknown.plaintext), { timeout: 20_000 }).toBe(200)
})

test('the database is looked after where it is', async () => {
  const { code, err } = await helixflow(first, 'db', 'doctor')
  expect([code, err]).toEqual([1, expect.stringContaining('auth service')])
})

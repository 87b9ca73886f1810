import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { parseConfig } from '../../../src/config/schema.ts'
import { silentLog } from '../../../src/core/log.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { MemoryStore } from '../../../src/limits/memory-store.ts'
import { RedisStore } from '../../../src/limits/redis-store.ts'
import type { Charge, Reservation } from '../../../src/limits/store.ts'
import { openRedis, type RedisConnection } from '../../../src/redis/connection.ts'
import { RedisServer } from '../../support/redis.ts'

const KINDS = ['token-bucket', 'sliding-window', 'fixed-window'] as const
const START_MS = 1_700_000_000_000

let server: RedisServer
let redis: RedisConnection

beforeAll(async () => {
  server = await RedisServer.start()
  redis = openRedis(parseConfig({ redis: { urls: [server.url] } }).redis, silentLog)
  await vi.waitFor(() => redis.client.ping(), { timeout: 5_000, interval: 20 })
})
afterAll(async () => {
  await redis.stop()
  await server.stop()
})

let places = 0
let requests = 0

function reservation(...charges: readonly Charge[]): Reservation {
  return { tenant: 'org_a', requestId: `r${++requests}`, charges, held: true }
}

function charge(change: Partial<Charge> = {}): Charge {
  const limit = change.limit ?? 10
  return { key: 'k', kind: 'token-bucket', limit, windowMs: 10_000, burst: limit, cost: 1, ...change }
}

test('what comes in one call is decided one after the other, about several rules, as in this process', async () => {
  let nowMs = START_MS
  const here = new MemoryStore({ now: () => nowMs, monotonic: () => nowMs })
  const there = new RedisStore({
    client: redis.client,
    prefix: `test${++places}`,
    id: 'one',
    nowMs: () => nowMs,
  })
  const random = seededRandom(23)
  const upTo = (count: number) => Math.floor(random.uniform() * count)
  const rules = [...KINDS, ...KINDS, 'gauge', 'budget'].map((kind, place) =>
    charge({ kind: kind as Charge['kind'], key: `${kind}${place}`, limit: 20 + place, windowMs: 3_000 }),
  )
  for (const rule of rules.filter(({ kind }) => kind === 'budget')) {
    here.seed('org_a', rule, 7)
    await there.seed('org_a', rule, 7)
  }
  const open: Reservation[] = []
  const compared: Promise<unknown>[] = []
  let granted = 0
  for (let step = 0; step < 6_000; step++) {
    // Some forty in the same millisecond: calls are full, and cut.
    if (step % 40 === 0) nowMs += upTo(700)
    const [first] = open
    const charges = rules.filter(() => random.uniform() < 0.3).map((rule) => ({ ...rule, cost: upTo(4) }))
    if (first && (open.length > 60 || random.uniform() < 0.3)) {
      const costs = first.charges.map(() => upTo(4))
      here.settle(first, costs)
      compared.push(there.settle(first, costs))
      open.shift()
    } else if (first && random.uniform() < 0.1) {
      here.renew([first])
      compared.push(there.renew([first]))
    } else {
      const one = { ...reservation(...charges), held: random.uniform() < 0.5 }
      const expected = here.reserve(one)
      compared.push(there.reserve(one).then((verdict) => expect(verdict).toEqual(expected)))
      if (expected.refused !== undefined) continue
      granted++
      if (one.held) open.push(one)
    }
  }
  await Promise.all(compared)
  expect(await there.peek('org_a', rules)).toEqual(here.peek('org_a', rules))
  expect(granted).toBeGreaterThan(1_000)
  expect(granted).toBeLessThan(4_000)
})

describe('a reservation of which it was never heard what became', () => {
  test.each(['before it arrives', 'after it arrived'])('is void when that is said %s', async (order) => {
    const options = { client: redis.client, prefix: `test${++places}`, id: 'one', nowMs: () => START_MS }
    const store = new RedisStore(options)
    const one = reservation(charge({ cost: 3 }), charge({ kind: 'sliding-window', key: 'w', cost: 3 }))
    const lost = { ...one, held: false }
    if (order === 'before it arrives') await store.settle(lost, [0, 0])
    await store.reserve(lost)
    if (order === 'after it arrived') await store.settle(lost, [0, 0])
    for (const { key, kind } of one.charges)
      expect((await store.peek('org_a', [charge({ key, kind })]))[0]?.remaining).toBe(10)
  })

  test('is void when the call that it came in is overtaken', async () => {
    const client = Object.create(redis.client)
    const options = { client, prefix: `test${++places}`, id: 'one', nowMs: () => START_MS }
    const store = new RedisStore(options)
    const send = client.helixflowDecideBuffer.bind(redis.client)
    let arrive = () => {}
    client.helixflowDecideBuffer = (...words: unknown[]) => {
      client.helixflowDecideBuffer = send
      return new Promise((resolve, reject) => {
        arrive = () => send(...words).then(resolve, reject)
      })
    }
    const [first, lost, last] = [1, 2, 3].map((cost) => ({ ...reservation(charge({ cost })), held: false }))
    const asked = [first, lost, last].map((one) => store.reserve(one as Reservation))
    await new Promise((turn) => setImmediate(turn))
    await store.settle(lost as Reservation, [0])
    arrive()
    await Promise.all(asked)
    expect((await store.peek('org_a', [charge()]))[0]?.remaining).toBe(6)
    await store.renew([first, lost, last] as Reservation[])
    expect((await store.peek('org_a', [charge()]))[0]?.remaining).toBe(6)
  })

  test('is settled once, however often that is said', async () => {
    const store = new RedisStore({
      client: redis.client,
      prefix: `test${++places}`,
      id: 'one',
      nowMs: () => START_MS,
    })
    const one = reservation(charge({ cost: 3 }))
    await store.reserve(one)
    for (let again = 0; again < 3; again++) {
      await store.settle(one, [2])
      await store.renew([one])
      expect((await store.peek('org_a', [charge()]))[0]?.remaining).toBe(8)
    }
  })

  test('counts once when it is charged for certain', async () => {
    const store = new RedisStore({
      client: redis.client,
      prefix: `test${++places}`,
      id: 'one',
      nowMs: () => START_MS,
    })
    const one = { ...reservation(charge({ cost: 3 })), held: false }
    await store.reserve(one)
    await store.renew([one])
    await store.renew([one])
    expect((await store.peek('org_a', [charge()]))[0]?.remaining).toBe(7)
  })
})

describe('a Redis that lost everything', () => {
  test('a budget begins with what the database knows and what is reserved at the moment', async () => {
    const store = new RedisStore({ client: redis.client, prefix: `test${++places}`, id: 'one' })
    const budget = charge({ kind: 'budget', limit: 100, cost: 20 })
    await store.seed('org_a', budget, 0)
    const running = reservation(budget)
    await store.reserve(running)
    await redis.client.flushall()
    await store.renew([running])
    await store.seed('org_a', budget, 50)
    expect((await store.peek('org_a', [budget]))[0]?.remaining).toBe(30)
    await store.settle(running, [5])
    expect((await store.peek('org_a', [budget]))[0]?.remaining).toBe(45)
  })

  test('what a killed gateway held is taken back, however long nobody asks', async () => {
    let nowMs = START_MS
    const prefix = `test${++places}`
    const store = new RedisStore({ client: redis.client, prefix, id: 'one', nowMs: () => nowMs })
    const place = charge({ kind: 'gauge', key: 'g', limit: 1 })
    await store.reserve(reservation(place))
    const silenceMs = 86_400_000
    nowMs += silenceMs
    for (const key of await redis.client.keys(`${prefix}:*`)) {
      const lifeMs = await redis.client.pttl(key)
      if (lifeMs >= 0 && lifeMs <= silenceMs) await redis.client.del(key)
    }
    expect((await store.reserve(reservation(place))).refused).toBeUndefined()
  })

  test('its scripts are sent again, and what they counted stays', async () => {
    const store = new RedisStore({ client: redis.client, prefix: `test${++places}`, id: 'one' })
    const one = { ...reservation(charge({ kind: 'fixed-window', windowMs: 86_400_000 })), held: false }
    await store.reserve(one)
    await server.command('SCRIPT', 'FLUSH')
    await store.renew([one])
    expect((await store.peek('org_a', one.charges))[0]?.remaining).toBe(9)
  })

  test('a server without memory fails and changes nothing', async () => {
    let nowMs = START_MS
    const options = { client: redis.client, prefix: `test${++places}`, id: 'one', nowMs: () => nowMs }
    const store = new RedisStore(options)
    const rules = KINDS.map((kind) => charge({ kind, key: kind, cost: 4 }))
    const one = { ...reservation(...rules), held: false }
    await store.reserve(one)
    const left = async () => (await store.peek('org_a', rules)).map(({ remaining }) => remaining)
    await server.command('CONFIG', 'SET', 'maxmemory', '1')
    onTestFinished(async () => void (await server.command('CONFIG', 'SET', 'maxmemory', '0')))
    await expect(store.reserve({ ...reservation(...rules), held: false })).rejects.toThrow('OOM')
    await expect(store.settle(one, [1, 1, 1])).rejects.toThrow('OOM')
    nowMs += 20_000
    await expect(store.reserve({ ...reservation(...rules), held: false })).rejects.toThrow('OOM')
    await server.command('CONFIG', 'SET', 'maxmemory', '0')
    nowMs -= 20_000
    expect(await left()).toEqual([6, 6, 6])
    nowMs += 20_000
    expect(await left()).toEqual([10, 10, 10])
  })

  test('nothing of a counter outlives its use', async () => {
    const store = new RedisStore({ client: redis.client, prefix: `test${++places}`, id: 'one' })
    await redis.client.flushall()
    const kinds = KINDS.map((kind) => charge({ kind, key: kind, windowMs: 1_000 }))
    const one = reservation(...kinds, charge({ kind: 'gauge', key: 'g' }))
    await store.reserve(one)
    await store.settle(one, [1, 1, 1, 0])
    const keys = (await redis.client.keys('*')).sort()
    for (const key of keys) expect(await redis.client.pttl(key), key).toBeGreaterThan(0)
    expect(keys.some((key) => key.endsWith(':g'))).toBe(false)
  })
})

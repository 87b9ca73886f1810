import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { parseConfig } from '../../../src/config/schema.ts'
import { silentLog } from '../../../src/core/log.ts'
import { MemoryStore } from '../../../src/limits/memory-store.ts'
import { RedisStore } from '../../../src/limits/redis-store.ts'
import { LOG_ENTRIES_MAX } from '../../../src/limits/sliding-window.ts'
import {
  type Charge,
  RESERVATION_LIFE_MS,
  type Reservation,
  type Verdict,
} from '../../../src/limits/store.ts'
import { openRedis, type RedisConnection } from '../../../src/redis/connection.ts'
import { type ComparedStore, compareWithModel } from '../../support/limit-comparison.ts'
import type { WindowKind } from '../../support/limit-models.ts'
import { RedisServer } from '../../support/redis.ts'

const KINDS = ['token-bucket', 'sliding-window', 'fixed-window'] satisfies WindowKind[]
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

const STORES: Readonly<Record<string, () => ComparedStore>> = {
  'in this process': () => {
    let nowMs = START_MS
    const clock = { now: () => nowMs, monotonic: () => nowMs }
    return { at: (ms) => (nowMs = ms), store: new MemoryStore(clock) }
  },
  'in Redis': () => {
    let nowMs = START_MS
    const options = { client: redis.client, prefix: `test${++places}`, id: 'one', nowMs: () => nowMs }
    return { at: (ms) => (nowMs = ms), store: new RedisStore(options) }
  },
}

let requests = 0

function reservation(...charges: readonly Charge[]): Reservation {
  return { tenant: 'org_a', requestId: `r${++requests}`, charges, held: true }
}

function charge(change: Partial<Charge> = {}): Charge {
  const limit = change.limit ?? 10
  return { key: 'k', kind: 'token-bucket', limit, windowMs: 10_000, burst: limit, cost: 1, ...change }
}

describe.each(Object.entries(STORES))('counters %s', (name, make) => {
  // A million each is a long run: test/chaos/limits.test.ts.
  const count = name === 'in Redis' ? 20_000 : 200_000

  test.each(KINDS)(`%s: ${count} arrivals are decided as the specification says`, async (kind) => {
    const { differing, granted } = await compareWithModel(make(), kind, count)
    expect(differing).toBe(0)
    // Neither all nor nothing: the arrivals do test it.
    expect(granted / count).toBeGreaterThan(0.1)
    expect(granted / count).toBeLessThan(0.9)
  })

  test.each([...KINDS, 'gauge'] as const)(
    '%s: what was reserved is replaced by what it cost, once',
    async (kind) => {
      const { store } = make()
      const left = async () => (await store.peek('org_a', [charge({ kind })]))[0]?.remaining
      const first = reservation(charge({ kind, cost: 6 }))
      await store.reserve(first)
      expect(await left()).toBe(4)
      await store.settle(first, [2])
      expect(await left()).toBe(8)
      const second = reservation(charge({ kind, cost: 3 }))
      await store.reserve(second)
      await store.settle(second, [5])
      expect(await left()).toBe(3)
      await store.settle(second, [0])
      expect(await left()).toBe(3)
    },
  )

  test('of several rules none is charged when one refuses, and the longest wait is told', async () => {
    const { store } = make()
    const wide = charge({ key: 'wide', limit: 100, burst: 100, kind: 'sliding-window' })
    const short = charge({ key: 'short', limit: 1, burst: 1, windowMs: 1_000 })
    const long = charge({ key: 'long', limit: 1, burst: 1, windowMs: 86_400_000 })
    expect((await store.reserve(reservation(wide, short, long))).refused).toBeUndefined()
    for (let again = 0; again < 3; again++) {
      const verdict = await store.reserve(reservation(wide, short, long))
      expect(verdict).toMatchObject({ refused: 2, waitMs: 86_400_000 })
    }
    expect((await store.peek('org_a', [wide]))[0]?.remaining).toBe(99)
  })

  test('the same reservation twice is once, also when nothing is held', async () => {
    const { store } = make()
    const held = reservation(charge())
    await store.reserve(held)
    expect((await store.reserve(held)).standings[0]?.remaining).toBe(9)
  })

  test('the counters of two tenants are two', async () => {
    const { store } = make()
    const one = charge({ limit: 1, burst: 1 })
    expect((await store.reserve(reservation(one))).refused).toBeUndefined()
    expect((await store.reserve({ ...reservation(one), tenant: 'org_b' })).refused).toBeUndefined()
    expect((await store.reserve(reservation(one))).refused).toBe(0)
  })

  test('what nobody renews is taken back whole; what is renewed stays', async () => {
    const { at, store } = make()
    const gauge = charge({ kind: 'gauge', key: 'g', limit: 2 })
    const log = charge({ kind: 'sliding-window', key: 'w', limit: 100, windowMs: 600_000, cost: 30 })
    const [gone, alive] = [reservation(gauge, log), reservation(gauge, log)]
    await store.reserve(gone)
    await store.reserve(alive)
    expect((await store.reserve(reservation(gauge))).refused).toBe(0)
    at(START_MS + RESERVATION_LIFE_MS - 5_000)
    await store.renew([alive])
    at(START_MS + RESERVATION_LIFE_MS + 5_000)
    expect((await store.reserve(reservation(gauge))).refused).toBeUndefined()
    expect((await store.reserve(reservation(gauge))).refused).toBe(0)
    expect((await store.peek('org_a', [log]))[0]?.remaining).toBe(70)
  })

  test('what a store has lost is charged again by its renewal', async () => {
    const { store } = make()
    await store.renew([reservation(charge({ cost: 4 }))])
    expect((await store.peek('org_a', [charge()]))[0]?.remaining).toBe(6)
  })

  test('a budget decides nothing before it is known what was spent, and then to the last unit', async () => {
    const { store } = make()
    const budget = charge({ kind: 'budget', limit: 9_000_000_000_000_000, cost: 6_000_000_000_000_001 })
    expect(await store.reserve(reservation(budget))).toMatchObject({ refused: undefined, unseeded: [0] })
    await store.seed('org_a', budget, 2_999_999_999_999_998)
    await store.seed('org_a', budget, 0)
    const one = reservation(budget)
    expect(await store.reserve(one)).toMatchObject({ refused: undefined, unseeded: [] })
    expect((await store.peek('org_a', [budget]))[0]?.remaining).toBe(1)
    expect(await store.reserve(reservation(budget))).toMatchObject({
      refused: 0,
      waitMs: Number.POSITIVE_INFINITY,
    })
    await store.settle(one, [1])
    expect((await store.peek('org_a', [budget]))[0]?.remaining).toBe(6_000_000_000_000_001)
  })

  test('a full log gathers what comes and never admits more than the limit', async () => {
    const { at, store } = make()
    const limit = 2 * LOG_ENTRIES_MAX
    const terms = charge({ kind: 'sliding-window', limit, burst: limit, windowMs: 60_000 })
    const verdicts: (Verdict | Promise<Verdict>)[] = []
    for (let arrival = 0; arrival < limit + 500; arrival++) {
      at(START_MS + arrival)
      verdicts.push(store.reserve({ ...reservation(terms), held: false }))
    }
    const all = await Promise.all(verdicts)
    expect(all.filter(({ refused }) => refused === undefined)).toHaveLength(limit)
    expect(all.map(({ gathered }) => gathered).indexOf(true)).toBe(LOG_ENTRIES_MAX)
    at(START_MS + 60_000 + 1_000)
    expect((await store.reserve(reservation(terms))).refused).toBeUndefined()
  })
})

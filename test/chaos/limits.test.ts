import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { parseConfig } from '../../src/config/schema.ts'
import { silentLog } from '../../src/core/log.ts'
import type { Terms } from '../../src/limits/counter.ts'
import { MemoryStore } from '../../src/limits/memory-store.ts'
import { RedisStore } from '../../src/limits/redis-store.ts'
import type { Charge } from '../../src/limits/store.ts'
import { openRedis } from '../../src/redis/connection.ts'
import { compareWithModel } from '../support/limit-comparison.ts'
import { arrivals, modelOf, termsOf, type WindowKind } from '../support/limit-models.ts'
import { LimiterFleet, total } from '../support/limiter-fleet.ts'
import { RedisServer } from '../support/redis.ts'

const KINDS = ['token-bucket', 'sliding-window', 'fixed-window'] satisfies WindowKind[]
const ARRIVALS = 1_000_000
const IN_FLIGHT = 500

let server: RedisServer

beforeAll(async () => {
  server = await RedisServer.start()
})
afterAll(() => server.stop())

test.each(KINDS)(
  `%s in this process: ${ARRIVALS} arrivals are decided as the specification says`,
  async (kind) => {
    let nowMs = 1_700_000_000_000
    const store = new MemoryStore({ now: () => nowMs, monotonic: () => nowMs })
    const { differing } = await compareWithModel({ at: (ms) => (nowMs = ms), store }, kind, ARRIVALS)
    expect(differing).toBe(0)
  },
)

test.each(KINDS)(`%s in Redis: ${ARRIVALS} arrivals are decided as the specification says`, async (kind) => {
  const redis = openRedis(parseConfig({ redis: { urls: [server.url] } }).redis, silentLog)
  onTestFinished(() => redis.stop())
  await vi.waitFor(() => redis.client.ping(), { timeout: 5_000, interval: 20 })
  await redis.client.flushall()
  let time = 0
  const store = new RedisStore({ client: redis.client, prefix: kind, id: 'one', nowMs: () => time })
  const terms = termsOf(kind, 17)
  const models = terms.map(modelOf)
  let differing = 0
  let waiting: Promise<void>[] = []
  let request = 0
  for (const { nowMs, place, cost } of arrivals(terms, ARRIVALS, 19)) {
    time = nowMs
    const expected = models[place]?.arrive(nowMs, cost)
    const charges = [{ ...(terms[place] as Terms), key: String(place), cost }]
    // The marks of requests are of no use here, and would be a million keys.
    const requestId = `r${request++ % 100_000}-${Math.floor(request / 100_000)}`
    const asked = store.reserve({ tenant: 'org_a', requestId, charges, held: false })
    waiting.push(
      asked.then(({ refused, standings }) => {
        const same = (refused === undefined) === expected?.allowed
        if (!same || standings[0]?.remaining !== expected?.remaining) differing++
      }),
    )
    if (waiting.length < IN_FLIGHT) continue
    await Promise.all(waiting)
    waiting = []
  }
  await Promise.all(waiting)
  expect(differing).toBe(0)
})

const charge: Charge = {
  key: 'k',
  kind: 'token-bucket',
  limit: 200,
  windowMs: 1_000,
  burst: 100,
  cost: 1,
}

test('four processes at three times the load for a minute: within a thousandth of the model, never over it', async () => {
  const task = { urls: [server.url], prefix: 'minute', charge, perSecond: 150, seconds: 60 }
  const fleet = await LimiterFleet.start(4, task)
  onTestFinished(() => fleet.stop())
  fleet.go()
  const { granted, failures, seconds, togetherSeconds } = total(await fleet.reports())
  expect(failures).toEqual([])
  expect(granted).toBeLessThanOrEqual(100 + 200 * seconds)
  expect(granted).toBeGreaterThan(0.999 * 200 * togetherSeconds)
})

test('a Redis that stands still for half of a minute: shares, no failure, never more than the limit', async () => {
  const task = { urls: [server.url], prefix: 'frozen', charge, perSecond: 150, seconds: 60 }
  const fleet = await LimiterFleet.start(4, task)
  onTestFinished(() => fleet.stop())
  fleet.go()
  await sleep(10_000)
  server.freeze()
  await sleep(30_000)
  server.thaw()
  const { granted, failures, outages, seconds, togetherSeconds } = total(await fleet.reports())
  expect(failures).toEqual([])
  expect(outages).toBeGreaterThanOrEqual(4)
  expect(granted).toBeLessThanOrEqual(100 + 200 * seconds)
  expect(granted).toBeGreaterThan(0.8 * 200 * togetherSeconds)
})

test('a Redis that pauses its clients again and again: no failure, never more than the limit', async () => {
  const task = { urls: [server.url], prefix: 'paused', charge, perSecond: 150, seconds: 30 }
  const fleet = await LimiterFleet.start(4, task)
  onTestFinished(() => fleet.stop())
  fleet.go()
  for (let pause = 0; pause < 12; pause++) {
    await sleep(2_000)
    await server.command('CLIENT', 'PAUSE', '150', 'ALL')
  }
  const { granted, failures, seconds, togetherSeconds } = total(await fleet.reports())
  expect(failures).toEqual([])
  expect(granted).toBeLessThanOrEqual(100 + 200 * seconds)
  expect(granted).toBeGreaterThan(0.8 * 200 * togetherSeconds)
})

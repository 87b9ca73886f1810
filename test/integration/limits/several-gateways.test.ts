import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { seededRandom } from '../../../src/core/random.ts'
import type { Charge } from '../../../src/limits/store.ts'
import { Limiter } from '../../support/limiter.ts'
import { LimiterFleet, total } from '../../support/limiter-fleet.ts'
import { RedisServer } from '../../support/redis.ts'
import { SlowProxy } from '../../support/slow-proxy.ts'

let server: RedisServer

beforeAll(async () => {
  server = await RedisServer.start()
})
afterAll(() => server.stop())

let prefixes = 0

function charge(change: Partial<Charge> = {}): Charge {
  const limit = change.limit ?? 200
  return { key: 'k', kind: 'token-bucket', limit, windowMs: 1_000, burst: limit, cost: 1, ...change }
}

/** Limiters that know of each other. */
async function limiters(count: number, timeoutMs?: number): Promise<Limiter[]> {
  const prefix = `several${++prefixes}`
  const all: Limiter[] = []
  for (let made = 0; made < count; made++)
    all.push(await Limiter.start({ urls: [server.url] }, prefix, timeoutMs))
  onTestFinished(async () => {
    await Promise.all(all.map((one) => one.stop()))
  })
  await vi.waitFor(
    () => expect(all.map(({ peers }) => peers.share().gateways)).toEqual(all.map(() => count)),
    { timeout: 5_000, interval: 50 },
  )
  return all
}

const back = (all: readonly Limiter[]) =>
  vi.waitFor(() => expect(all.some(({ store }) => store.away)).toBe(false), { timeout: 5_000, interval: 20 })

describe('four processes on one limit', () => {
  test('together they are granted what one would be, at three times the load', async () => {
    const terms = charge({ limit: 200, burst: 100 })
    const fleet = await LimiterFleet.start(4, {
      urls: [server.url],
      prefix: `fleet${++prefixes}`,
      charge: terms,
      perSecond: 150,
      seconds: 4,
    })
    onTestFinished(() => fleet.stop())
    fleet.go()
    const { granted, asked, failures, seconds, togetherSeconds } = total(await fleet.reports())
    expect(failures).toEqual([])
    expect(granted).toBeLessThanOrEqual(100 + 200 * seconds)
    expect(granted).toBeGreaterThan(0.99 * 200 * togetherSeconds)
    expect(asked).toBeGreaterThan(2 * granted)
  })

  test('a Redis that stands still makes them go on with their shares: no failure, never more than the limit', async () => {
    const terms = charge({ limit: 200, burst: 40 })
    const fleet = await LimiterFleet.start(4, {
      urls: [server.url],
      prefix: `fleet${++prefixes}`,
      charge: terms,
      perSecond: 150,
      seconds: 6,
    })
    onTestFinished(() => fleet.stop())
    fleet.go()
    await sleep(1_500)
    server.freeze()
    await sleep(3_000)
    server.thaw()
    const { granted, failures, outages, seconds } = total(await fleet.reports())
    expect(failures).toEqual([])
    expect(outages).toBeGreaterThanOrEqual(4)
    expect(granted).toBeLessThanOrEqual(40 + 200 * seconds)
    expect(granted).toBeGreaterThan(0.8 * 200 * seconds)
  })
})

describe('eight gateways on one budget', () => {
  test('it is spent to the last unit, and not beyond', async () => {
    // A busy machine may take its time: this is about Redis, and not about the lack of it.
    const all = await limiters(8, 5_000)
    const budget = charge({ kind: 'budget', key: 'budget', limit: 100, windowMs: 0 })
    await all[0]?.store.seed('org_a', budget, 0)
    await Promise.all(all.flatMap((one) => Array.from({ length: 40 }, () => one.ask([budget], true))))
    expect(all.reduce((sum, { granted }) => sum + granted, 0)).toBe(100)
    expect(all.flatMap(({ failures }) => failures)).toEqual([])
  })
})

describe('a shared store that is away', () => {
  test('what is charged is what was granted, however often it stands still', async () => {
    const [a, b] = await limiters(2)
    if (!a || !b) throw new Error('no limiters')
    const random = seededRandom(5)
    const counted = charge({ kind: 'fixed-window', key: 'all', limit: 1_000_000, windowMs: 86_400_000 })
    const tight = charge({ key: 'tight', limit: 400, burst: 50 })
    let costs = 0
    const ends: Promise<void>[] = []
    const one = async (limiter: Limiter) => {
      const held = random.uniform() < 0.5
      const { verdict, reservation } = await limiter.ask([counted, tight], held)
      if (verdict?.refused !== undefined) return
      if (!held) {
        costs += 1
        return
      }
      await sleep(random.uniform() * 150)
      const cost = Math.floor(random.uniform() * 3)
      costs += cost
      await limiter.settle(reservation, [cost, 1])
    }
    for (let freeze = 0; freeze < 8; freeze++) {
      for (let sent = 0; sent < 40; sent++) {
        ends.push(one(random.uniform() < 0.5 ? a : b))
        await sleep(random.uniform() * 5)
        if (sent === 10) server.freeze()
        if (sent === 30) server.thaw()
      }
    }
    await Promise.all(ends)
    await back([a, b])
    expect([...a.failures, ...b.failures]).toEqual([])
    expect(a.outages.length + b.outages.length).toBeGreaterThan(4)
    const [left] = await a.store.peek('org_a', [counted])
    expect(1_000_000 - (left?.remaining ?? 0)).toBe(costs)
  })

  test('replies that come too late charge nobody twice, and nobody who was refused', async () => {
    const proxy = await SlowProxy.start(server.port)
    onTestFinished(() => proxy.stop())
    const urls = [`redis://127.0.0.1:${proxy.port}`]
    const one = await Limiter.start({ urls }, `several${++prefixes}`)
    onTestFinished(() => one.stop())
    const counted = charge({ kind: 'fixed-window', key: 'all', limit: 1_000_000, windowMs: 86_400_000 })
    const tight = charge({ key: 'tight', limit: 300, burst: 30 })
    for (const delayMs of [0, 60, 0, 200, 30, 0, 100, 0]) {
      proxy.delayMs = delayMs
      const asked = []
      for (let sent = 0; sent < 40; sent++) {
        asked.push(one.ask([counted, tight]))
        await sleep(5)
      }
      await Promise.all(asked)
    }
    await back([one])
    expect(one.failures).toEqual([])
    expect(one.outages.length).toBeGreaterThanOrEqual(4)
    const [left] = await one.store.peek('org_a', [counted])
    expect(1_000_000 - (left?.remaining ?? 0)).toBe(one.granted)
  })

  test('killed and started empty, it costs one burst at most', async () => {
    const all = await limiters(2)
    const terms = charge({ limit: 50, burst: 20 })
    const startMs = performance.now()
    const ask = async (count: number) => {
      for (let sent = 0; sent < count; sent++) {
        await Promise.all(all.map((one) => one.ask([terms])))
        await sleep(4)
      }
    }
    await ask(80)
    await server.kill()
    await ask(80)
    await server.startAgain()
    await ask(80)
    await back(all)
    await ask(80)
    const seconds = (performance.now() - startMs) / 1_000
    const granted = all.reduce((sum, one) => sum + one.granted, 0)
    expect(all.flatMap(({ failures }) => failures)).toEqual([])
    expect(granted).toBeLessThanOrEqual(2 * 20 + 50 * seconds)
    expect(granted).toBeGreaterThan(0.7 * 50 * seconds)
  })

  test('flushed under load, it costs one burst at most, and places that are taken are taken again', async () => {
    const [one] = await limiters(1)
    if (!one) throw new Error('no limiter')
    const place = charge({ kind: 'gauge', key: 'places', limit: 2, windowMs: 0 })
    const first = await one.ask([place], true)
    await one.ask([place], true)
    expect((await one.ask([place], true)).verdict?.refused).toBe(0)
    await server.command('FLUSHALL')
    await one.store.renew([...one.running.values()])
    expect((await one.ask([place], true)).verdict?.refused).toBe(0)
    await one.settle(first.reservation, [0])
    expect((await one.ask([place], true)).verdict?.refused).toBeUndefined()
  })

  test('a window that was full when it went stays full until it has passed', async () => {
    const [a, b] = await limiters(2)
    if (!a || !b) throw new Error('no limiters')
    const full = charge({ kind: 'sliding-window', key: 'full', limit: 10, windowMs: 3_600_000 })
    for (let sent = 0; sent < 12; sent++) await a.ask([full])
    expect(a.granted).toBe(10)
    await b.ask([full])
    server.freeze()
    for (let sent = 0; sent < 12; sent++) await Promise.all([a.ask([full]), b.ask([full])])
    server.thaw()
    await back([a, b])
    expect([a.granted, b.granted]).toEqual([10, 0])
  })

  test('a window that nobody asked for is shared, not refused', async () => {
    const [a, b] = await limiters(2)
    if (!a || !b) throw new Error('no limiters')
    const quiet = charge({ kind: 'sliding-window', key: 'quiet', limit: 10, windowMs: 3_600_000 })
    server.freeze()
    for (let sent = 0; sent < 12; sent++) await Promise.all([a.ask([quiet]), b.ask([quiet])])
    server.thaw()
    await back([a, b])
    expect([a.granted, b.granted]).toEqual([5, 5])
    await a.ask([quiet])
    expect(a.granted).toBe(5)
  })

  test('reservations that ran while it stood still are not taken for forgotten', async () => {
    const [one] = await limiters(1)
    if (!one) throw new Error('no limiter')
    const tokens = charge({
      kind: 'sliding-window',
      key: 'tokens',
      limit: 100,
      windowMs: 3_600_000,
      cost: 60,
    })
    const { reservation } = await one.ask([tokens], true)
    server.freeze()
    await one.ask([tokens])
    await one.settle(reservation, [45])
    server.thaw()
    await back([one])
    expect((await one.store.peek('org_a', [tokens]))[0]?.remaining).toBe(55)
  })
})

describe('who is alive', () => {
  test('gateways that come and go change the shares of the others', async () => {
    const prefix = `several${++prefixes}`
    const first = await Limiter.start({ urls: [server.url] }, prefix)
    const second = await Limiter.start({ urls: [server.url] }, prefix)
    onTestFinished(() => first.stop())
    await vi.waitFor(() => expect(first.peers.share().gateways).toBe(2), { timeout: 3_000, interval: 20 })
    expect(new Set([first.peers.share().rank, second.peers.share().rank])).toEqual(new Set([0, 1]))
    await second.stop()
    await vi.waitFor(() => expect(first.peers.share()).toEqual({ gateways: 1, rank: 0 }), {
      timeout: 3_000,
      interval: 20,
    })
  })
})

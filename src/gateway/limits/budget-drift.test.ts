import { expect, test } from 'vitest'
import { ManualClock } from '../../core/clock.ts'
import { silentLog } from '../../core/log.ts'
import { noMetrics } from '../../core/metrics.ts'
import { MemoryStore } from '../../limits/memory-store.ts'
import type { Charge } from '../../limits/store.ts'
import { BudgetDrift } from './budget-drift.ts'

const budget: Charge = {
  key: 'b',
  kind: 'budget',
  limit: 100e9,
  windowMs: 0,
  burst: 100e9,
  cost: 10e9,
  spend: { subject: { kind: 'key', id: 'k' }, model: undefined, sinceMs: 0 },
}

function setUp() {
  const clock = new ManualClock(1_000_000)
  const store = new MemoryStore(clock)
  store.seed('org', budget, 0)
  let spent = 0
  let drift: number | undefined
  const watch = new BudgetDrift({
    store,
    spend: { spent: async () => [spent], reserveSpend: async () => undefined, releaseSpend: async () => {} },
    clock,
    log: silentLog,
    metrics: { ...noMetrics, set: (_name, _labels, value) => (drift = value) },
  })
  const reservation = { tenant: 'org', requestId: 'r', charges: [budget], held: true }
  const request = (cost: number) => {
    watch.began('org', budget, 1e12)
    store.reserve(reservation)
    store.settle(reservation, [cost])
    watch.ended('org', budget)
    clock.advance(20_000)
  }
  return {
    clock,
    watch,
    request,
    records: (cost: number) => (spent = cost),
    drift: () => drift,
  }
}

test('counters and records that agree drift by nothing', async () => {
  const { watch, request, records, drift } = setUp()
  request(3e9)
  records(3e9)
  await watch.check()
  expect(drift()).toBe(0)
  watch.stop()
})

test('a record that is missing is seen, until it comes', async () => {
  const { watch, request, records, drift } = setUp()
  request(3e9)
  await watch.check()
  expect(drift()).toBe(3)
  records(3e9)
  await watch.check()
  expect(drift()).toBe(0)
  watch.stop()
})

test('a budget of a period that is over is judged no more', async () => {
  const { watch, request, clock, drift } = setUp()
  request(3e9)
  clock.advance(1e12)
  await watch.check()
  expect(drift()).toBe(0)
  watch.stop()
})

test('a budget in use is not judged', async () => {
  const { watch, drift } = setUp()
  watch.began('org', budget, 1e12)
  await watch.check()
  expect(drift()).toBe(0)
  watch.stop()
})

test('nothing is compared after the end, also where it came in the middle of a comparison', async () => {
  const clock = new ManualClock(1_000_000)
  let answer = (_: readonly number[]) => {}
  let asked = 0
  const spent = () => {
    asked++
    return new Promise<readonly number[]>((resolve) => {
      answer = resolve
    })
  }
  const spend = { spent, reserveSpend: async () => undefined, releaseSpend: async () => {} }
  const store = new MemoryStore(clock)
  const watch = new BudgetDrift({ store, spend, clock, log: silentLog, metrics: noMetrics })
  watch.began('org', budget, 1e12)
  watch.ended('org', budget)
  clock.advance(30_000)
  expect(asked).toBe(1)
  watch.stop()
  // They differ: it would be asked again.
  answer([5e9])
  for (let turn = 0; turn < 10; turn++) await Promise.resolve()
  clock.advance(60_000)
  expect(asked).toBe(1)
})

import { describe, expect, test } from 'vitest'
import { arrivals, modelOf, termsOf, type WindowKind } from '../../test/support/limit-models.ts'
import type { Terms } from './counter.ts'
import { MemoryStore } from './memory-store.ts'
import { GATHERED_MAX, LOG_ENTRIES_MAX } from './sliding-window.ts'
import type { Charge, Reservation } from './store.ts'

/** A million of them: test/integration/limits. */
const ARRIVALS = 100_000

/** A store at a time that the test sets, also backwards. */
function storeAt() {
  const clock = { nowMs: 1_700_000_000_000, now: () => clock.nowMs, monotonic: () => clock.nowMs }
  return { clock, store: new MemoryStore(clock) }
}

let requests = 0

function reservation(...charges: readonly Charge[]): Reservation {
  return { tenant: 'org_a', requestId: `r${++requests}`, charges, held: true }
}

function charge(change: Partial<Charge> = {}): Charge {
  const limit = change.limit ?? 10
  return { key: 'k', kind: 'token-bucket', limit, windowMs: 10_000, burst: limit, cost: 1, ...change }
}

describe.each(['token-bucket', 'sliding-window', 'fixed-window'] satisfies WindowKind[])('%s', (kind) => {
  test(`decides ${ARRIVALS} arrivals as its specification does`, () => {
    const { clock, store } = storeAt()
    const terms = termsOf(kind, 7)
    const models = terms.map(modelOf)
    let differing = 0
    let granted = 0
    for (const { nowMs, place, cost } of arrivals(terms, ARRIVALS, 11)) {
      clock.nowMs = nowMs
      const expected = models[place]?.arrive(nowMs, cost)
      const charges = [{ ...(terms[place] as Terms), key: String(place), cost }]
      const { refused, standings } = store.reserve({
        tenant: 'org_a',
        requestId: String(++requests),
        charges,
        held: false,
      })
      if (refused === undefined) granted++
      const same =
        (refused === undefined) === expected?.allowed && standings[0]?.remaining === expected.remaining
      if (!same) differing++
    }
    expect(differing).toBe(0)
    // Neither all nor nothing: the arrivals do test it.
    expect(granted).toBeGreaterThan(ARRIVALS / 10)
    expect(granted).toBeLessThan((9 * ARRIVALS) / 10)
  })

  test('says a wait after which it grants, and before which it does not', () => {
    const { clock, store } = storeAt()
    const terms = termsOf(kind, 3)
    for (const { nowMs, place, cost } of arrivals(terms, 3_000, 5)) {
      clock.nowMs = Math.max(clock.nowMs, nowMs)
      const charges = [{ ...(terms[place] as Terms), key: String(place), cost }]
      const { refused, waitMs } = store.reserve({ ...reservation(...charges), held: false })
      if (refused === undefined || waitMs === Number.POSITIVE_INFINITY) continue
      clock.nowMs += waitMs - 1
      expect(store.reserve({ ...reservation(...charges), held: false }).refused).toBe(0)
      clock.nowMs += 1
      expect(store.reserve({ ...reservation(...charges), held: false }).refused).toBeUndefined()
    }
  })

  test('a request larger than the whole of it is never granted, and told so', () => {
    const { store } = storeAt()
    const { refused, waitMs } = store.reserve(reservation(charge({ kind, cost: 11 })))
    expect([refused, waitMs]).toEqual([0, Number.POSITIVE_INFINITY])
  })

  test('what was reserved is replaced by what it cost, whichever is more', () => {
    const { store } = storeAt()
    const left = () => store.peek('org_a', [charge({ kind })])[0]?.remaining
    const first = reservation(charge({ kind, cost: 6 }))
    store.reserve(first)
    expect(left()).toBe(4)
    store.settle(first, [2])
    expect(left()).toBe(8)
    const second = reservation(charge({ kind, cost: 3 }))
    store.reserve(second)
    store.settle(second, [5])
    expect(left()).toBe(3)
    // Once is enough.
    store.settle(second, [0])
    expect(left()).toBe(3)
  })
})

test('a clock that is set forward or back changes nothing', () => {
  const clock = { wallMs: 1_700_000_000_000, steadyMs: 0 }
  const store = new MemoryStore({ now: () => clock.wallMs, monotonic: () => clock.steadyMs })
  const kinds = ['token-bucket', 'sliding-window', 'fixed-window'] as const
  const all = kinds.map((kind) => charge({ kind, key: kind, limit: 1, burst: 1, windowMs: 60_000 }))
  store.reserve(reservation(...all))
  for (const by of [3_600_000, -7_200_000]) {
    clock.wallMs += by
    clock.steadyMs += 1
    for (const one of all) expect(store.reserve(reservation(one)).refused).toBe(0)
  }
})

describe('several rules', () => {
  test('none is charged when one of them refuses', () => {
    const { store } = storeAt()
    const wide = charge({ key: 'wide', limit: 100, burst: 100, kind: 'sliding-window' })
    const narrow = charge({ key: 'narrow', limit: 1, burst: 1 })
    expect(store.reserve(reservation(wide, narrow)).refused).toBeUndefined()
    for (let again = 0; again < 5; again++) expect(store.reserve(reservation(wide, narrow)).refused).toBe(1)
    expect(store.peek('org_a', [wide])[0]?.remaining).toBe(99)
  })

  test('the one that takes longest is the one that is told', () => {
    const { store } = storeAt()
    const seconds = charge({ key: 's', limit: 1, burst: 1, windowMs: 1_000 })
    const days = charge({ key: 'd', limit: 1, burst: 1, windowMs: 86_400_000 })
    store.reserve(reservation(days, seconds))
    expect(store.reserve(reservation(seconds, days))).toMatchObject({ refused: 1, waitMs: 86_400_000 })
  })

  test('the counters of two tenants are two', () => {
    const { store } = storeAt()
    const one = charge({ limit: 1, burst: 1 })
    expect(store.reserve(reservation(one)).refused).toBeUndefined()
    expect(store.reserve({ ...reservation(one), tenant: 'org_b' }).refused).toBeUndefined()
    expect(store.reserve(reservation(one)).refused).toBe(0)
  })
})

describe('reservations', () => {
  test('the same one twice is once', () => {
    const { store } = storeAt()
    const one = reservation(charge())
    store.reserve(one)
    expect(store.reserve(one).standings[0]?.remaining).toBe(9)
  })

  test('nobody renews those of somebody who is gone: they are taken back', () => {
    const { clock, store } = storeAt()
    const gauge = charge({ kind: 'gauge', limit: 2 })
    const [gone, alive] = [reservation(gauge), reservation(gauge)]
    store.reserve(gone)
    store.reserve(alive)
    expect(store.reserve(reservation(gauge)).refused).toBe(0)
    clock.nowMs += 20_000
    store.renew([alive])
    clock.nowMs += 15_000
    expect(store.reserve(reservation(gauge)).refused).toBeUndefined()
    expect(store.reserve(reservation(gauge)).refused).toBe(0)
    store.settle(alive, [0])
    expect(store.reserve(reservation(gauge)).refused).toBeUndefined()
  })

  test('a budget decides nothing before it is known what was spent', () => {
    const { store } = storeAt()
    const budget = charge({ kind: 'budget', limit: 100, cost: 60 })
    expect(store.reserve(reservation(budget))).toMatchObject({ refused: undefined, unseeded: [0] })
    store.seed('org_a', budget, 30)
    store.seed('org_a', budget, 0)
    const one = reservation(budget)
    expect(store.reserve(one)).toMatchObject({ refused: undefined, unseeded: [] })
    expect(store.reserve(reservation(budget))).toMatchObject({ refused: 0, waitMs: Number.POSITIVE_INFINITY })
    store.settle(one, [10])
    expect(store.reserve(reservation(budget)).refused).toBeUndefined()
  })

  test.each(['before', 'after'])(
    'a budget charged again before it is known what was spent, and settled %s that, is no new one',
    (when) => {
      const { store } = storeAt()
      const budget = charge({ kind: 'budget', limit: 100, cost: 60 })
      const one = reservation(budget)
      store.renew([one])
      expect(store.reserve(reservation(budget)).unseeded).toEqual([0])
      if (when === 'before') store.settle(one, [10])
      store.seed('org_a', budget, 20)
      if (when === 'after') store.settle(one, [10])
      // What was settled before is in what the database says.
      expect(store.peek('org_a', [budget])).toMatchObject([{ remaining: when === 'before' ? 80 : 70 }])
    },
  )
})

describe('a log that is full', () => {
  test('gathers what comes, keeps to its limit and stays bounded', () => {
    const { clock, store } = storeAt()
    const limit = 50_000
    const terms = charge({ kind: 'sliding-window', limit, burst: limit, windowMs: 60_000 })
    const admitted: number[] = []
    let gathered = false
    for (let arrival = 0; arrival < 200_000; arrival++) {
      clock.nowMs += arrival % 3 === 0 ? 1 : 0
      const verdict = store.reserve({ ...reservation(terms), held: false })
      gathered ||= verdict.gathered
      if (verdict.refused === undefined) admitted.push(clock.nowMs)
    }
    expect(gathered).toBe(true)
    // No window holds more than the limit.
    let first = 0
    let most = 0
    for (let last = 0; last < admitted.length; last++) {
      while ((admitted[first] ?? 0) <= (admitted[last] ?? 0) - 60_000) first++
      most = Math.max(most, last - first + 1)
    }
    expect(most).toBeLessThanOrEqual(limit)
    expect(most).toBeGreaterThan(0.99 * limit)
    expect(LOG_ENTRIES_MAX + GATHERED_MAX).toBeLessThan(5_000)
  })
})

describe('memory', () => {
  test('counters that are as good as new are forgotten, others are not', () => {
    const { clock, store } = storeAt()
    for (let key = 0; key < 100; key++)
      store.reserve({ ...reservation(charge({ key: `k${key}` })), held: false })
    const open = reservation(charge({ key: 'gauge', kind: 'gauge' }))
    store.reserve(open)
    store.sweep()
    expect(store.size).toBe(101)
    clock.nowMs += 10_000
    store.renew([open])
    store.sweep()
    expect(store.size).toBe(1)
  })

  test('a budget whose period is long over is forgotten, one in use is not', () => {
    const { clock, store } = storeAt()
    const budgets = ['over', 'open'].map((key) => charge({ key, kind: 'budget', limit: 100 }))
    const [over, open] = budgets.map((budget) => {
      store.seed('org_a', budget, 0)
      const one = reservation(budget)
      expect(store.reserve(one)).toMatchObject({ refused: undefined, unseeded: [] })
      return one
    })
    store.settle(over as Reservation, [1])
    clock.nowMs += 86_400_000
    store.renew([open as Reservation])
    store.sweep()
    expect(store.size).toBe(2)
    clock.nowMs += 86_400_001
    store.renew([open as Reservation])
    store.sweep()
    expect(store.size).toBe(1)
  })
})

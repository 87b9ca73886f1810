import { describe, expect, test } from 'vitest'
import { device, instance, model } from '../../test/support/cluster.ts'
import { observeArrivals } from './forecast/forecast.ts'
import { choosePrefetches } from './prefetch.ts'
import { NO_PREFETCHES, recordPrefetch } from './prefetch-ledger.ts'
import {
  type ArrivalHistory,
  type ClusterState,
  emptyCluster,
  type ModelHistory,
  type ModelSpec,
  NO_ARRIVALS,
} from './state.ts'
import { viewOf } from './view.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const NOW_MS = 200 * HOUR_MS
const policy = { enabled: true, wasteMax: 0.1, precisionMin: 0.5 }
const hourly = every(HOUR_MS)
const rare = every(50 * HOUR_MS)

/** Asked for at each multiple of the period, watched until two minutes before the next hour. */
function every(periodMs: number): ArrivalHistory {
  let history = NO_ARRIVALS
  for (let nowMs = MINUTE_MS; nowMs <= NOW_MS - 2 * MINUTE_MS; nowMs += MINUTE_MS) {
    history = observeArrivals(history, nowMs % periodMs === 0 ? 1 : 0, { nowMs, calendarMs: nowMs })
  }
  return history
}

function known(spec: ModelSpec, arrivals: ArrivalHistory): ModelHistory {
  return { spec, arrivals, crashes: [], inFlight: 0, queued: 0, spareSinceMs: undefined, held: false }
}

function cluster(models: readonly ModelHistory[], own: Partial<ClusterState> = {}): ClusterState {
  const byName = Object.fromEntries(models.map((history) => [history.spec.name, history]))
  return { ...emptyCluster([device('gpu', 100)]), models: byName, ...own }
}

function chosen(state: ClusterState, now = NOW_MS - 2 * MINUTE_MS, own = policy) {
  return choosePrefetches(viewOf(state, now), own)
}

describe('choosePrefetches', () => {
  const timer = model('timer', 60)
  const other = model('other', 60)

  test('loads a model whose time is near into free memory, and one that hardly anybody wants not', () => {
    const prefetches = chosen(cluster([known(timer, hourly), known(other, rare)]))
    expect(prefetches.map(({ spec, victims }) => [spec.name, victims])).toEqual([['timer', []]])
    expect(prefetches[0]?.because).toMatch(/asked for within \d+ min with chance 0\.\d+/)
  })

  test('leaves alone what failed to load within the hour', () => {
    const since = (failedMs: number) => chosen(cluster([{ ...known(timer, hourly), failedMs }])).length
    expect([since(NOW_MS - 60_000), since(NOW_MS - 2 * 3_600_000)]).toEqual([0, 1])
  })

  test('takes the place of an idle model of less worth, and of no other', () => {
    const models = [known(timer, hourly), known(other, rare)]
    const over = (own: object) => {
      const [first] = chosen(cluster(models, { instances: [instance(other, 'gpu', own)] }))
      return first?.victims.map(({ spec }) => spec.name)
    }
    expect(over({})).toEqual(['other'])
    expect(over({ inFlight: 1 })).toBeUndefined()
    expect(over({ state: 'loading' })).toBeUndefined()
    expect(over({ spec: { ...other, pinned: true } })).toBeUndefined()
    // Another prefetch that has not had its chance yet.
    expect(over({ purpose: 'prefetch', used: false })).toBeUndefined()
    const alike = cluster([known(timer, hourly), known(other, hourly)], {
      instances: [instance(other, 'gpu')],
    })
    expect(chosen(alike)).toEqual([])
  })

  test('loads nothing that is there, waits, has just crashed or may not be on any device', () => {
    const purpose = 'demand' as const
    const waiting = [{ spec: timer, purpose, sinceMs: 0, notBeforeMs: 0 }]
    expect(chosen(cluster([known(timer, hourly)], { instances: [instance(timer, 'gpu')] }))).toEqual([])
    expect(chosen(cluster([known(timer, hourly)], { waiting }))).toEqual([])
    expect(chosen(cluster([{ ...known(timer, hourly), crashes: [1] }]))).toEqual([])
    expect(chosen(cluster([known({ ...timer, nodes: [] }, hourly)]))).toEqual([])
    expect(chosen(cluster([known(timer, hourly)]), NOW_MS, { ...policy, enabled: false })).toEqual([])
  })

  test('stops when too many were useless, and begins again when that is long ago', () => {
    const early = NOW_MS - 2 * MINUTE_MS - 72 * HOUR_MS
    let ledger = recordPrefetch(NO_PREFETCHES, { kind: 'loaded', loadMs: 10_000_000 }, early)
    for (let count = 0; count < 20; count++) {
      ledger = recordPrefetch(ledger, { kind: 'useless', loadMs: 1_000 }, early)
    }
    const fresh = { ...ledger, updatedMs: NOW_MS - 2 * MINUTE_MS }
    expect(chosen(cluster([known(timer, hourly)], { prefetches: fresh }))).toEqual([])
    expect(chosen(cluster([known(timer, hourly)], { prefetches: ledger }))).toHaveLength(1)
  })

  test('wastes no more than its share of what is loaded, prefetches under way included', () => {
    const slow = model('slow', 30, { loadMs: 600_000 })
    const models = [known(timer, hourly), known(slow, rare)]
    const prefetches = { ...NO_PREFETCHES, loadedMs: 600_000, updatedMs: NOW_MS - 2 * MINUTE_MS }
    expect(chosen(cluster(models, { prefetches }))).toHaveLength(1)
    expect(chosen(cluster(models, { prefetches: { ...prefetches, wastedMs: 130_000 } }))).toEqual([])
    const underWay = (used: boolean) => [instance(slow, 'gpu', { purpose: 'prefetch', used })]
    expect(chosen(cluster(models, { prefetches, instances: underWay(true) }))).toHaveLength(1)
    expect(chosen(cluster(models, { prefetches, instances: underWay(false) }))).toEqual([])
  })
})

describe('the ledger', () => {
  test('counts what it is told, and a day later about a third of it', () => {
    let ledger = recordPrefetch(NO_PREFETCHES, { kind: 'loaded', loadMs: 100 }, 0)
    ledger = recordPrefetch(ledger, { kind: 'useful' }, 0)
    ledger = recordPrefetch(ledger, { kind: 'useless', loadMs: 40 }, 0)
    expect(ledger).toEqual({ loadedMs: 100, wastedMs: 40, useful: 1, useless: 1, updatedMs: 0 })
    const later = recordPrefetch(ledger, { kind: 'useful' }, 24 * HOUR_MS)
    expect(later.useful).toBeCloseTo(1 + Math.exp(-1))
    expect(later.wastedMs).toBeCloseTo(40 / Math.E)
  })
})

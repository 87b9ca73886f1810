import { worthOf } from '../../src/scheduler/eviction.ts'
import { observeArrivals, requestsPerHour } from '../../src/scheduler/forecast/forecast.ts'
import type { PrefetchPolicy } from '../../src/scheduler/policy.ts'
import { choosePrefetches } from '../../src/scheduler/prefetch.ts'
import { recordPrefetch } from '../../src/scheduler/prefetch-ledger.ts'
import {
  type ClusterState,
  emptyCluster,
  type ModelHistory,
  type ModelSpec,
  NO_ARRIVALS,
} from '../../src/scheduler/state.ts'
import { viewOf } from '../../src/scheduler/view.ts'
import { device, instance } from './cluster.ts'
import { type ModelTrace, TRACE_START_MS } from './model-trace.ts'

/** A model that is loaded, or being loaded until `readyMs`. */
export interface Resident {
  readonly model: number
  readonly readyMs: number
  readonly isPrefetch: boolean
  used: boolean
  lastUsedMs: number
  busyUntilMs: number
}

/** What decides which models stay; `residents` is the replay's own map. */
export interface Keeper {
  readonly keepAliveMs: number
  /** Told of each request before it is served. */
  arrived(model: number, nowMs: number, index: number): void
  /** Residents in the order in which they go; those that are busy are left out by the caller. */
  order(residents: readonly Resident[], nowMs: number): readonly Resident[]
  /** About twice a minute: what to load ahead, and what goes for it. */
  tick?(
    residents: ReadonlyMap<number, Resident>,
    nowMs: number,
  ): { readonly model: number; readonly victims: readonly number[] } | undefined
  /** What was loaded, used for the first time after a prefetch, or went unused. */
  told?(outcome: 'loaded' | 'useful' | 'useless', model: number, nowMs: number): void
  evicted?(model: number): void
}

export interface Residency {
  /** Requests of the second half that waited for a load, and the seconds that they waited. */
  coldStarts: number
  waitedSeconds: number
  requests: number
  loads: number
  prefetches: number
  useful: number
  useless: number
}

const SERVICE_MS = 5_000
export const TICK_MS = 60_000

/** Replays the trace over one memory of that size; only the second half of the trace is counted. */
export function replayResidency(trace: ModelTrace, capacityBytes: number, keeper: Keeper): Residency {
  const { specs, timesMs, models, lengthMs } = trace
  const sum: Residency = {
    coldStarts: 0,
    waitedSeconds: 0,
    requests: 0,
    loads: 0,
    prefetches: 0,
    useful: 0,
    useless: 0,
  }
  const residents = new Map<number, Resident>()
  let freeBytes = capacityBytes
  const bytesOf = (model: number) => specs[model]?.memoryBytes ?? 0
  const isCounted = (nowMs: number) => nowMs >= lengthMs / 2
  const drop = (resident: Resident, nowMs: number) => {
    residents.delete(resident.model)
    freeBytes += bytesOf(resident.model)
    keeper.evicted?.(resident.model)
    if (!resident.isPrefetch || resident.used) return
    keeper.told?.('useless', resident.model, nowMs)
    if (isCounted(nowMs)) sum.useless += 1
  }
  const load = (model: number, nowMs: number, startMs: number, isPrefetch: boolean) => {
    const readyMs = startMs + (specs[model]?.loadMs ?? 0)
    const resident = {
      model,
      readyMs,
      isPrefetch,
      used: !isPrefetch,
      lastUsedMs: nowMs,
      busyUntilMs: readyMs,
    }
    residents.set(model, resident)
    freeBytes -= bytesOf(model)
    keeper.told?.('loaded', model, nowMs)
    if (isCounted(nowMs)) {
      sum.loads += 1
      if (isPrefetch) sum.prefetches += 1
    }
    return resident
  }
  /** Makes room and says from when on there is; what is busy goes only when nothing else does. */
  const makeRoom = (model: number, nowMs: number): number => {
    if (freeBytes >= bytesOf(model)) return nowMs
    const all = [...residents.values()]
    const idle = all.filter(({ busyUntilMs }) => busyUntilMs <= nowMs)
    for (const victim of keeper.order(idle, nowMs)) {
      if (freeBytes >= bytesOf(model)) return nowMs
      drop(victim, nowMs)
    }
    let startMs = nowMs
    const busy = [...residents.values()].sort((a, b) => a.busyUntilMs - b.busyUntilMs)
    for (const victim of busy) {
      if (freeBytes >= bytesOf(model)) break
      startMs = Math.max(startMs, victim.busyUntilMs)
      drop(victim, nowMs)
    }
    return startMs
  }
  let nextTickMs = TICK_MS
  const tick = (nowMs: number) => {
    for (const resident of [...residents.values()]) {
      if (Math.max(resident.busyUntilMs, resident.lastUsedMs) + keeper.keepAliveMs <= nowMs)
        drop(resident, nowMs)
    }
    for (let count = 0; count < 4; count++) {
      const chosen = keeper.tick?.(residents, nowMs)
      if (!chosen) return
      for (const victim of chosen.victims) {
        const resident = residents.get(victim)
        if (resident) drop(resident, nowMs)
      }
      if (freeBytes < bytesOf(chosen.model)) throw new Error('a prefetch without room')
      load(chosen.model, nowMs, nowMs, true)
    }
  }
  for (let index = 0; index < timesMs.length; index++) {
    const nowMs = timesMs[index] ?? 0
    const model = models[index] ?? 0
    for (; nextTickMs <= nowMs; nextTickMs += TICK_MS) tick(nextTickMs)
    keeper.arrived(model, nowMs, index)
    const present = residents.get(model)
    const resident = present ?? load(model, nowMs, makeRoom(model, nowMs), false)
    if (resident.isPrefetch && !resident.used) {
      keeper.told?.('useful', model, nowMs)
      if (isCounted(nowMs)) sum.useful += 1
    }
    resident.used = true
    resident.lastUsedMs = nowMs
    resident.busyUntilMs = Math.max(resident.busyUntilMs, Math.max(nowMs, resident.readyMs) + SERVICE_MS)
    if (!isCounted(nowMs)) continue
    sum.requests += 1
    if (resident.readyMs <= nowMs) continue
    sum.coldStarts += 1
    sum.waitedSeconds += (resident.readyMs - nowMs) / 1_000
  }
  return sum
}

/** What was not used longest goes first; with a keep-alive it also goes by itself. */
export function lruKeeper(keepAliveMs: number): Keeper {
  return {
    keepAliveMs,
    arrived: () => {},
    order: (residents) => [...residents].sort((a, b) => a.lastUsedMs - b.lastUsedMs),
  }
}

/** Cherkasova's GreedyDual-Size-Frequency (1998), with requests counted since the beginning. */
export function gdsfKeeper({ specs }: ModelTrace): Keeper {
  const counts = specs.map(() => 0)
  const worth = specs.map(() => 0)
  let level = 0
  return {
    keepAliveMs: Number.POSITIVE_INFINITY,
    arrived: (model) => {
      counts[model] = (counts[model] ?? 0) + 1
      const spec = specs[model]
      if (spec) worth[model] = level + ((counts[model] ?? 0) * spec.loadMs) / spec.memoryBytes
    },
    order: (residents) => [...residents].sort((a, b) => (worth[a.model] ?? 0) - (worth[b.model] ?? 0)),
    evicted: (model) => {
      level = Math.max(level, worth[model] ?? 0)
    },
  }
}

/** Knows the future: what is needed last for its size goes first (Belady's rule with size over cost). */
export function clairvoyantKeeper({ specs, timesMs, models }: ModelTrace): Keeper {
  const next = new Float64Array(timesMs.length)
  const seen = specs.map(() => Number.POSITIVE_INFINITY)
  for (let index = timesMs.length - 1; index >= 0; index--) {
    const model = models[index] ?? 0
    next[index] = seen[model] ?? 0
    seen[model] = timesMs[index] ?? 0
  }
  const nextUse = specs.map(() => Number.POSITIVE_INFINITY)
  const regret = (model: number, nowMs: number) => {
    const spec = specs[model]
    return spec ? spec.loadMs / spec.memoryBytes / ((nextUse[model] ?? 0) - nowMs) : 0
  }
  return {
    keepAliveMs: Number.POSITIVE_INFINITY,
    arrived: (model, _nowMs, index) => {
      nextUse[model] = next[index] ?? 0
    },
    order: (residents, nowMs) =>
      [...residents].sort((a, b) => regret(a.model, nowMs) - regret(b.model, nowMs)),
  }
}

/** What the scheduler does: the same functions that `decide` calls, in the same order. */
export function forecastKeeper({ specs }: ModelTrace, capacityBytes: number, policy: PrefetchPolicy): Keeper {
  const models = specs.map((spec): ModelHistory => {
    return {
      spec,
      crashes: [],
      inFlight: 0,
      queued: 0,
      spareSinceMs: undefined,
      held: false,
      arrivals: NO_ARRIVALS,
    }
  })
  const pending = specs.map(() => 0)
  let prefetches = emptyCluster([]).prefetches
  const time = (nowMs: number) => ({ nowMs, calendarMs: nowMs + TRACE_START_MS })
  const stateOf = (residents: Iterable<Resident>, nowMs: number): ClusterState => ({
    ...emptyCluster([device('memory', capacityBytes)]),
    calendarOffsetMs: TRACE_START_MS,
    prefetches,
    models: Object.fromEntries(models.map((history) => [history.spec.name, history])),
    instances: Array.from(residents, ({ model, readyMs, lastUsedMs, busyUntilMs, used, isPrefetch }) =>
      instance(specs[model] as ModelSpec, 'memory', {
        id: String(model),
        state: readyMs <= nowMs ? 'ready' : 'loading',
        inFlight: busyUntilMs > nowMs ? 1 : 0,
        ...{ lastUsedMs, used, purpose: isPrefetch ? 'prefetch' : 'demand' },
      }),
    ),
  })
  const observe = (model: number, nowMs: number) => {
    const history = models[model]
    if (!history) return
    const arrivals = observeArrivals(history.arrivals, pending[model] ?? 0, time(nowMs))
    pending[model] = 0
    if (arrivals !== history.arrivals) models[model] = { ...history, arrivals }
  }
  const worth = (model: number, nowMs: number) => {
    const history = models[model]
    return history ? worthOf(history.spec, requestsPerHour(history.arrivals, time(nowMs))) : 0
  }
  return {
    keepAliveMs: Number.POSITIVE_INFINITY,
    arrived: (model) => {
      pending[model] = (pending[model] ?? 0) + 1
    },
    order: (residents, nowMs) =>
      residents
        .map((resident) => ({ resident, worth: worth(resident.model, nowMs) }))
        .sort((a, b) => a.worth - b.worth)
        .map(({ resident }) => resident),
    tick: (residents, nowMs) => {
      for (let model = 0; model < specs.length; model++) observe(model, nowMs)
      if (!policy.enabled) return undefined
      const [first] = choosePrefetches(viewOf(stateOf(residents.values(), nowMs), nowMs), policy)
      if (!first) return undefined
      return { model: specs.indexOf(first.spec), victims: first.victims.map(({ id }) => Number(id)) }
    },
    told: (outcome, model, nowMs) => {
      const loadMs = specs[model]?.loadMs ?? 0
      prefetches = recordPrefetch(prefetches, { kind: outcome, loadMs }, nowMs)
    },
  }
}

import { NO_PREFETCHES, type PrefetchLedger } from './prefetch-ledger.ts'

/**
 * All that the scheduler knows. Values only: every decision is a function of this state, an event and the time,
 * so that the code that runs live is the code that a replay measures. Bytes and milliseconds everywhere.
 */
export interface ClusterState {
  readonly devices: readonly Device[]
  readonly instances: readonly Instance[]
  /** Models that somebody waits for, or that should have one more instance; at most one entry each, oldest first. */
  readonly waiting: readonly WaitingModel[]
  /** What is remembered of models, whether they are loaded or not. */
  readonly models: Readonly<Record<string, ModelHistory>>
  /** By node: the models whose files lie in its page cache. */
  readonly cachedFiles: Readonly<Record<string, readonly string[]>>
  /** Moves under way that open a hole for a model; undefined when there are none. */
  readonly plan: MovePlan | undefined
  readonly prefetches: PrefetchLedger
  /** When it was last looked for something to prefetch; undefined before the first time. */
  readonly prefetchSoughtMs: number | undefined
  /** When it was last looked whether devices are evenly loaded; undefined before the first time. */
  readonly balanceSoughtMs: number | undefined
  /** The device that was placed on last, for round robin. */
  readonly lastPlacedOn: string | undefined
  /** Calendar time less the scheduler's own clock, for what depends on the hour of the week. */
  readonly calendarOffsetMs: number
  /** Number of the next instance; ids are made here so that a replay gives the same ones. */
  readonly nextInstance: number
}

export type DeviceKind = 'cuda' | 'rocm' | 'metal' | 'cpu'

/** Memory that models can be placed in: a card, or the machine's own. */
export interface Device {
  /** The card's UUID; of a machine's own memory `<node>/cpu`. */
  readonly id: string
  readonly nodeId: string
  readonly kind: DeviceKind
  readonly totalBytes: number
  /** Taken by processes that are not ours, and what must stay free. */
  readonly foreignBytes: number
  /** `hot`: takes no new models. `lost`: what ran on it is gone. */
  readonly health: 'ok' | 'hot' | 'lost'
  /** Devices of one name reach each other fast; a model is split over these first. */
  readonly clique: string | undefined
  /** The group of models that it is kept for; undefined: for all that have none. */
  readonly group: string | undefined
}

/** A model as it is placed: what it needs, where it may go, and what it is worth to whoever runs this. */
export interface ModelSpec {
  readonly name: string
  /** What one instance takes on one device. */
  readonly memoryBytes: number
  /** The part of it that each device of a split needs whole: room to compute, the engine's own. */
  readonly perDeviceBytes: number
  /** Devices of one node that it may be split over; 1: never split. */
  readonly splitMax: number
  /** Ids of devices or nodes, or kinds of devices; undefined: anywhere. */
  readonly onlyOn: readonly string[] | undefined
  /** Nodes that hold its file. */
  readonly nodes: readonly string[]
  readonly group: string | undefined
  /** Requests that one instance works on at a time. */
  readonly slots: number
  readonly keepAliveMs: number
  /** Never evicted, moved or unloaded by idling. */
  readonly pinned: boolean
  /** Of two that wait the greater is placed first, and it is evicted after the lesser. */
  readonly priority: number
  readonly replicasMin: number
  readonly replicasMax: number
  /** Expected time to load its file from disk, and from the page cache. */
  readonly loadMs: number
  readonly cachedLoadMs: number
}

/** Bytes of one instance on one device. */
export interface Share {
  readonly deviceId: string
  readonly bytes: number
}

export interface Instance {
  readonly id: string
  readonly spec: ModelSpec
  readonly nodeId: string
  /** One for each device that it lies on: reserved at first, measured once it is ready. */
  readonly shares: readonly Share[]
  /**
   * loading -> ready -> draining -> unloading -> gone. Draining takes no new requests; unloading has none left
   * and holds its memory until the device says that it is free.
   */
  readonly state: 'loading' | 'ready' | 'draining' | 'unloading'
  readonly purpose: Purpose
  readonly inFlight: number
  /** Whether it has served anybody; a prefetched one that has not is waste. */
  readonly used: boolean
  readonly readySinceMs: number | undefined
  readonly lastUsedMs: number
  /** When the present state must have ended; undefined for ready, and for draining, which requests end. */
  readonly deadlineMs: number | undefined
  /** What keeping a byte of it is worth, as of its last use or of the last time that room was made: GDSF's H. */
  readonly worth: number
  /** The time that it computed, as of `workedUntilMs`, since that was last added to its model's account. */
  readonly workMs: number
  readonly workedUntilMs: number
}

/**
 * Why there is an instance: somebody waits; the least number; more than one is busy; it is expected to be asked for;
 * another one is being moved.
 */
export type Purpose = 'demand' | 'minimum' | 'replica' | 'prefetch' | 'move'

export interface WaitingModel {
  readonly spec: ModelSpec
  readonly purpose: Purpose
  readonly sinceMs: number
  /** Not loaded before this time: the pause after a crash. */
  readonly notBeforeMs: number
  /** When it was last looked for moves that make room for it, which takes long; undefined before the first time. */
  readonly movesSoughtMs?: number
}

export interface ModelHistory {
  readonly spec: ModelSpec
  /** Times of recent crashes, oldest first. */
  readonly crashes: readonly number[]
  /** Requests that are being answered and that wait, by what gateways said last. */
  readonly inFlight: number
  readonly queued: number
  /** When it last failed to load although it did not crash; undefined while it has not. */
  readonly failedMs?: number
  /** Since when it has had more instances than it needs; undefined while it has not. */
  readonly spareSinceMs: number | undefined
  /** The operator unloaded it: nothing but a request brings it back. */
  readonly held: boolean
  /** When it was asked for, as the forecast keeps it. */
  readonly arrivals: ArrivalHistory
  /** What its instances computed; undefined before the first did. */
  readonly work?: ModelWork | undefined
}

/** Time of devices, older time counting less. */
export interface ModelWork {
  readonly ms: number
  readonly updatedMs: number
}

/** See `forecast/`: what the chance of a request in the near future is computed from. Its size never changes. */
export interface ArrivalHistory {
  /** When it was first brought up to date, on the scheduler's clock; undefined before. */
  readonly startedMs: number | undefined
  /** Minutes with requests in each hour of the week, weighted by age: 168 numbers, or none before the first. */
  readonly hourOfWeek: readonly number[]
  /** How often each hour of the week was watched, likewise weighted. */
  readonly hoursSeen: readonly number[]
  /** The calendar's hour that is being counted, and its minutes with requests so far. */
  readonly hour: number
  readonly hourActive: number
  /** Minutes with requests in an hour, whichever, up to the last whole one. */
  readonly perHour: number
  /** The last minute on the scheduler's clock that had requests. */
  readonly activeMinute: number
  /** Exponentially weighted rates per millisecond, of the horizons that the forecast looks at. */
  readonly rates: readonly number[]
  /** All requests per millisecond, over a minute, ten and an hour, for what they need at a time and in all. */
  readonly requestRates: readonly number[]
  /** Counts of pauses between requests, by length: the idle-time histogram. */
  readonly pauses: readonly number[]
  /** On the scheduler's clock; undefined before the first. */
  readonly lastArrivalMs: number | undefined
  /** As of when its rates are; a call that brings nothing new may leave the history as it is for a minute. */
  readonly updatedMs: number
  /** How far each way to forecast is trusted, adding up to 1. */
  readonly weights: readonly number[]
  /** What each of them said, and when, so that what comes can be held against it. */
  readonly guesses: readonly number[]
  readonly guessedMs: number
}

/** A bounded list of moves, one after the other. */
export interface MovePlan {
  /** The waiting model that needs the hole which they open; undefined where they balance devices. */
  readonly model: string | undefined
  readonly because: string
  readonly moves: readonly Move[]
  /** The move that is under way. */
  readonly step: number
  readonly deadlineMs: number
  /** The instance that `moves[step]` made, while it loads; undefined before. */
  readonly copyId: string | undefined
}

export interface Move {
  readonly instanceId: string
  readonly nodeId: string
  readonly to: readonly Share[]
  /** `copy-first` loads the new one before the old one drains; `drain-first` where there is no room for both. */
  readonly kind: 'copy-first' | 'drain-first'
}

export const NO_ARRIVALS: ArrivalHistory = {
  startedMs: undefined,
  hourOfWeek: [],
  hoursSeen: [],
  hour: 0,
  hourActive: 0,
  perHour: 0,
  activeMinute: -1,
  rates: [],
  requestRates: [],
  pauses: [],
  lastArrivalMs: undefined,
  updatedMs: 0,
  weights: [],
  guesses: [],
  guessedMs: 0,
}

/**
 * The instance in the one layout that all have: objects that are put together from several others are kept by the engine
 * as tables, which are twenty times slower to look into, and decisions look into all instances.
 */
export function laidOut(one: Instance): Instance {
  return {
    id: one.id,
    spec: one.spec,
    nodeId: one.nodeId,
    shares: one.shares,
    state: one.state,
    purpose: one.purpose,
    inFlight: one.inFlight,
    used: one.used,
    readySinceMs: one.readySinceMs,
    lastUsedMs: one.lastUsedMs,
    deadlineMs: one.deadlineMs,
    worth: one.worth,
    workMs: one.workMs,
    workedUntilMs: one.workedUntilMs,
  }
}

/** The same for models, which are looked into as often. */
export function laidOutSpec(one: ModelSpec): ModelSpec {
  return {
    name: one.name,
    memoryBytes: one.memoryBytes,
    perDeviceBytes: one.perDeviceBytes,
    splitMax: one.splitMax,
    onlyOn: one.onlyOn,
    nodes: one.nodes,
    group: one.group,
    slots: one.slots,
    keepAliveMs: one.keepAliveMs,
    pinned: one.pinned,
    priority: one.priority,
    replicasMin: one.replicasMin,
    replicasMax: one.replicasMax,
    loadMs: one.loadMs,
    cachedLoadMs: one.cachedLoadMs,
  }
}

/** Whether both say the same of a model. */
export function isSameSpec(one: ModelSpec, other: ModelSpec): boolean {
  if (one === other) return true
  const [{ nodes, onlyOn, ...own }, { nodes: otherNodes, onlyOn: otherOnlyOn, ...others }] = [one, other]
  const values: Readonly<Record<string, unknown>> = others
  return (
    isSameList(nodes, otherNodes) &&
    (onlyOn && otherOnlyOn ? isSameList(onlyOn, otherOnlyOn) : onlyOn === otherOnlyOn) &&
    Object.entries(own).every(([key, value]) => values[key] === value)
  )
}

function isSameList(one: readonly string[], other: readonly string[]): boolean {
  return one === other || (one.length === other.length && one.every((each, at) => each === other[at]))
}

export function emptyCluster(devices: readonly Device[]): ClusterState {
  return {
    devices,
    instances: [],
    waiting: [],
    models: {},
    cachedFiles: {},
    plan: undefined,
    prefetches: NO_PREFETCHES,
    prefetchSoughtMs: undefined,
    balanceSoughtMs: undefined,
    lastPlacedOn: undefined,
    calendarOffsetMs: 0,
    nextInstance: 1,
  }
}

/** What each of `count` devices gives for one instance of the model. */
export function shareBytes(spec: ModelSpec, count: number): number {
  return Math.ceil((spec.memoryBytes - spec.perDeviceBytes) / count) + spec.perDeviceBytes
}

/** Expected time to load the model on that node. */
export function loadMsOn(state: ClusterState, spec: ModelSpec, nodeId: string): number {
  return state.cachedFiles[nodeId]?.includes(spec.name) ? spec.cachedLoadMs : spec.loadMs
}

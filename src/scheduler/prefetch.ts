import { arrivalChance, type ForecastTime, requestsPerHour } from './forecast/forecast.ts'
import { historiesOf } from './histories.ts'
import type { PrefetchPolicy } from './policy.ts'
import { agedLedger, DAY_MS, type PrefetchLedger } from './prefetch-ledger.ts'
import { type Device, type Instance, loadMsOn, type ModelHistory, type ModelSpec } from './state.ts'
import { allowedDevices, type ClusterView } from './view.ts'

/** A model to load before it is asked for, where, and what that is expected to bring. */
export interface Prefetch {
  readonly spec: ModelSpec
  readonly nodeId: string
  readonly deviceId: string
  /** The chance that it is asked for while it would still be there. */
  readonly chance: number
  /** Seconds of loading that nobody will wait for, less those that are wasted or caused elsewhere. */
  readonly gainSeconds: number
  /** Idle instances of less worth that must go for it. */
  readonly victims: readonly Instance[]
  readonly because: string
}

/**
 * The models to load now because they are expected to be asked for, the most worth it first. Each goes into free
 * memory, or over instances of less worth, which the caller evicts. Each is chosen as if it were the only one: the
 * caller takes the first and asks again. A model that only fits several devices together is not among them.
 */
export function choosePrefetches(view: ClusterView, policy: PrefetchPolicy): readonly Prefetch[] {
  const { state, nowMs } = view
  const ledger = agedLedger(state.prefetches, nowMs)
  if (!isPrefetching(ledger, policy)) return []
  const outlook = { view, time: timeOf(view), horizonMs: horizonOf(view, ledger) }
  const leftMs = wasteLeftMs(ledger, policy) - wasteExpectedMs(outlook)
  const present = new Set([...state.instances, ...state.waiting].map(({ spec }) => spec.name))
  return historiesOf(state.models)
    .filter(({ spec, crashes, failedMs = Number.NEGATIVE_INFINITY }) => {
      const isSound = crashes.length === 0 && nowMs - failedMs >= FAILED_PAUSE_MS
      return isSound && !present.has(spec.name)
    })
    .map((history) => bestPrefetch(outlook, history))
    .filter((prefetch) => prefetch !== undefined)
    .filter(({ spec, chance }) => (1 - chance) * spec.loadMs <= leftMs)
    .sort((a, b) => b.gainSeconds - a.gainSeconds)
}

/** Whether models are loaded ahead at all: it is wanted, and has not been in vain too often. */
export function isPrefetching(ledger: PrefetchLedger, policy: PrefetchPolicy): boolean {
  return policy.enabled && !isTooOftenUseless(ledger, policy)
}

interface Outlook {
  readonly view: ClusterView
  readonly time: ForecastTime
  readonly horizonMs: number
}

/** What failed to load, for whatever reason, is left to those who ask for it. */
const FAILED_PAUSE_MS = 3_600_000
/** With fewer prefetches than this to go by nobody can say that they are useless. */
const EVIDENCE_MIN = 4
/** What may be wasted in a day in which nothing else is loaded. */
const WASTE_FREE_MS = 60_000
/** However much is loaded, a prefetch needs some time to be of use; however little, the forecast ends somewhere. */
const HORIZON_MIN_MS = 5 * 60_000
const HORIZON_MAX_MS = 4 * 3_600_000
/** A forecast is no promise: what is lost elsewhere counts more than what it brings. */
const LOSS_WEIGHT = 1.2

function timeOf({ state, nowMs }: ClusterView): ForecastTime {
  return { nowMs, calendarMs: nowMs + state.calendarOffsetMs }
}

function isTooOftenUseless({ useful, useless }: PrefetchLedger, { precisionMin }: PrefetchPolicy): boolean {
  return useful + useless >= EVIDENCE_MIN && useful < precisionMin * (useful + useless)
}

/**
 * How far to look ahead: about as long as what is loaded now can hope to stay, which is until two more have been
 * loaded. Where memory is fought over, that is minutes, and only what comes within minutes is worth a prefetch.
 */
function horizonOf({ state }: ClusterView, { loadedMs }: PrefetchLedger): number {
  const models = historiesOf(state.models)
  const meanLoadMs = models.reduce((sum, { spec }) => sum + spec.loadMs, 0) / Math.max(1, models.length)
  const untilTwoMs = (2 * DAY_MS * meanLoadMs) / Math.max(1, loadedMs)
  return Math.min(HORIZON_MAX_MS, Math.max(HORIZON_MIN_MS, untilTwoMs))
}

/** The token bucket of waste: a share of what is loaded in a day, less what was wasted in it. */
function wasteLeftMs({ loadedMs, wastedMs }: PrefetchLedger, { wasteMax }: PrefetchPolicy): number {
  return wasteMax > 0 ? WASTE_FREE_MS + wasteMax * loadedMs - wastedMs : 0
}

/** What the prefetches that have not been used yet are expected to waste. */
function wasteExpectedMs({ view, time, horizonMs }: Outlook): number {
  return view.state.instances.reduce((sum, { purpose, used, spec }) => {
    const arrivals = view.state.models[spec.name]?.arrivals
    if (purpose !== 'prefetch' || used || !arrivals) return sum
    return sum + (1 - arrivalChance(arrivals, horizonMs, time)) * spec.loadMs
  }, 0)
}

function bestPrefetch(outlook: Outlook, { spec, arrivals }: ModelHistory): Prefetch | undefined {
  const { view, time, horizonMs } = outlook
  const { state } = view
  const sooner = arrivalChance(arrivals, horizonMs + spec.loadMs, time)
  if (sooner <= 0.5) return undefined
  // What comes while it loads waits as it would have, for less; it does not count.
  const chance = sooner - arrivalChance(arrivals, spec.loadMs, time)
  return allowedDevices(state.devices, spec)
    .filter(({ health }) => health === 'ok')
    .map((device) => prefetchOn(outlook, spec, device, chance))
    .filter((prefetch) => prefetch !== undefined)
    .sort((a, b) => b.gainSeconds - a.gainSeconds)[0]
}

/** Worth it if chance * seconds saved > (1 - chance) * seconds wasted + what the victims would have saved. */
function prefetchOn(outlook: Outlook, spec: ModelSpec, device: Device, chance: number): Prefetch | undefined {
  const { view } = outlook
  const loadSeconds = loadMsOn(view.state, spec, device.nodeId) / 1_000
  const savedSeconds = (chance - (1 - chance)) * loadSeconds
  if (savedSeconds <= 0) return undefined
  const victims = victimsOn(outlook, device, spec)
  if (!victims) return undefined
  const lostSeconds = victims.reduce((sum, victim) => sum + lossOf(outlook, victim), 0)
  const gainSeconds = savedSeconds - LOSS_WEIGHT * lostSeconds
  if (gainSeconds <= 0) return undefined
  const minutes = Math.round(outlook.horizonMs / 60_000)
  const because = `asked for within ${minutes} min with chance ${chance.toFixed(2)}, gains ${gainSeconds.toFixed(1)} s`
  return { spec, nodeId: device.nodeId, deviceId: device.id, chance, gainSeconds, victims, because }
}

/** Idle instances whose end makes room on the device, those of least worth for their bytes first. */
function victimsOn(
  { view, time }: Outlook,
  device: Device,
  { memoryBytes }: ModelSpec,
): readonly Instance[] | undefined {
  let missing = memoryBytes - (view.freeBytes.get(device.id) ?? 0)
  if (missing <= 0) return []
  const worthOf = ({ spec }: Instance) => {
    const arrivals = view.state.models[spec.name]?.arrivals
    return arrivals ? (requestsPerHour(arrivals, time) * spec.loadMs) / Math.max(1, spec.memoryBytes) : 0
  }
  const idle = (view.instancesOn.get(device.id) ?? [])
    .filter(({ state, inFlight, spec, purpose, used }) => {
      const isUntried = purpose === 'prefetch' && !used
      return state === 'ready' && inFlight === 0 && !spec.pinned && !isUntried
    })
    .map((instance) => ({ instance, worth: worthOf(instance) }))
    .sort((a, b) => a.worth - b.worth)
  const victims: Instance[] = []
  for (const { instance } of idle) {
    if (missing <= 0) break
    victims.push(instance)
    missing -= instance.shares.find(({ deviceId }) => deviceId === device.id)?.bytes ?? 0
  }
  return missing <= 0 ? victims : undefined
}

/** Seconds of loading that its next request is expected to wait for if it goes now. */
function lossOf({ view, time, horizonMs }: Outlook, { spec, nodeId }: Instance): number {
  const arrivals = view.state.models[spec.name]?.arrivals
  if (!arrivals) return 0
  return (arrivalChance(arrivals, horizonMs, time) * loadMsOn(view.state, spec, nodeId)) / 1_000
}

import type { EvictionPolicy } from './policy.ts'
import { type Instance, loadMsOn } from './state.ts'
import type { ClusterView } from './view.ts'

/** What it costs that instances go; of two losses the first part that differs decides. */
export interface Loss {
  /** Those whose requests must end first. */
  readonly busy: number
  /** Those that have hardly served since they were loaded. */
  readonly young: number
  /** The greatest of them; below every priority where nothing goes. */
  readonly priority: number
  /** Seconds of loading an hour that keeping them saves; with `lru` the time at which the latest was used. */
  readonly value: number
}

/** Of nobody's going; every other loss is greater. */
export const NO_LOSS: Loss = { busy: 0, young: 0, priority: Number.NEGATIVE_INFINITY, value: 0 }

/** Below zero where `a` is less. */
export function compareLoss(a: Loss, b: Loss): number {
  if (a.busy !== b.busy) return a.busy - b.busy
  if (a.young !== b.young) return a.young - b.young
  if (a.priority !== b.priority) return a.priority < b.priority ? -1 : 1
  return a.value - b.value
}

/** What it costs that both go. */
export function addLoss(a: Loss, b: Loss, by: EvictionPolicy['by']): Loss {
  return {
    busy: a.busy + b.busy,
    young: a.young + b.young,
    priority: Math.max(a.priority, b.priority),
    value: by === 'lru' ? Math.max(a.value, b.value) : a.value + b.value,
  }
}

/** What it costs that the instance goes. */
export function lossOf(view: ClusterView, instance: Instance, policy: EvictionPolicy): Loss {
  const { readySinceMs, inFlight, spec, lastUsedMs } = instance
  const young = readySinceMs !== undefined && view.nowMs - readySinceMs < policy.residencyMinMs
  return {
    busy: inFlight > 0 ? 1 : 0,
    young: young ? 1 : 0,
    priority: spec.priority,
    value: policy.by === 'lru' ? lastUsedMs : savedSeconds(view, instance),
  }
}

/**
 * Seconds of loading an hour that keeping the instance saves. GDSF's H is what a byte is worth on top of the level that
 * all have aged to, so that the difference times the bytes is what the instance is worth by now.
 */
export function savedSeconds({ state }: ClusterView, { worth, spec, nodeId }: Instance): number {
  const agedWorth = Math.max(0, worth - state.evictionLevel)
  const loadSeconds = loadMsOn(state, spec, nodeId) / 1_000
  return (agedWorth * spec.memoryBytes) / 1_000 + ASKED_AGAIN * loadSeconds
}

/**
 * Chance that what nobody is known to ask for will be asked for after all. It lets the lesser load go where nothing
 * else is known, and fewer victims where all are alike.
 */
const ASKED_AGAIN = 0.1

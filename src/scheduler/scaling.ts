import { requestGrowth } from './forecast/growth.ts'
import type { ScalePolicy } from './policy.ts'
import type { ModelHistory } from './state.ts'

/**
 * How many instances the model should have now: at least its minimum, never fewer than its requests in flight need,
 * at once more when they do not suffice, fewer only after that has lasted.
 */
export function replicasWanted(
  history: ModelHistory,
  present: number,
  policy: ScalePolicy,
  nowMs: number,
): number {
  const { spec, spareSinceMs } = history
  const needed = replicasNeeded(history, policy, nowMs)
  // The last one goes by idling or by eviction, never because it is one too many.
  const least = Math.max(spec.replicasMin, Math.min(present, 1))
  const hasLasted = spareSinceMs !== undefined && nowMs - spareSinceMs >= policy.downAfterMs
  const wanted = needed >= present || hasLasted ? needed : present
  return Math.min(spec.replicasMax, Math.max(least, wanted))
}

/** Since when the model has had more instances than it needs, for its history; undefined while it has not. */
export function spareSince(
  history: ModelHistory,
  present: number,
  policy: ScalePolicy,
  nowMs: number,
): number | undefined {
  const least = Math.max(history.spec.replicasMin, 1, replicasNeeded(history, policy, nowMs))
  return present > least ? (history.spareSinceMs ?? nowMs) : undefined
}

/**
 * What its requests need: now, with no more than the allowed share of the slots in use, and by the time that another
 * instance could be ready, when nine times out of ten there should be a slot for everyone. By Little's law the
 * requests at work grow as arrivals do, for what each takes stays the same.
 */
function replicasNeeded(
  { spec, inFlight, queued, arrivals }: ModelHistory,
  { busyMax }: ScalePolicy,
  nowMs: number,
): number {
  const atWork = inFlight + queued
  const now = Math.ceil(atWork / (spec.slots * Math.max(busyMax, 1 / spec.slots / 100)))
  const growth = requestGrowth(arrivals, spec.loadMs, nowMs)
  const soon = growth > 1 ? Math.ceil(poissonQuantile(atWork * growth, 0.9) / spec.slots) : 0
  return Math.max(now, soon)
}

/** The least number that a Poisson variable of that mean exceeds with no more than the rest of the chance. */
function poissonQuantile(mean: number, share: number): number {
  // From here on the normal distribution is within one of it.
  if (mean > 50) return Math.ceil(mean + 1.2816 * Math.sqrt(mean))
  let chance = Math.exp(-mean)
  let sum = chance
  let count = 0
  while (sum < share) {
    count += 1
    chance *= mean / count
    sum += chance
  }
  return count
}

import type { ScalePolicy } from './policy.ts'
import type { ModelHistory } from './state.ts'

/**
 * How many instances the model should have now: at least its minimum, never fewer than its requests in flight need,
 * at once more when they do not suffice, fewer only after that has lasted.
 */
export function replicasWanted(
  { spec, inFlight, queued }: ModelHistory,
  present: number,
  policy: ScalePolicy,
  _nowMs: number,
): number {
  const needed = Math.ceil((inFlight + queued) / (spec.slots * policy.busyMax))
  const wanted = Math.max(needed, Math.min(present, 1))
  return Math.min(spec.replicasMax, Math.max(spec.replicasMin, wanted))
}

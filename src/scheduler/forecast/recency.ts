import type { ArrivalHistory } from '../state.ts'
import { agedRate, HOUR_MS, hazardOf, MINUTE_MS } from './active-minutes.ts'

/** What "recently" means, from bursts to days. */
export const RECENT_MS: readonly number[] = [5 * MINUTE_MS, HOUR_MS, 24 * HOUR_MS]

/** The exponentially weighted rates after `elapsedMs` more, over which so many minutes with requests are spread. */
export function agedRates(rates: readonly number[], active: number, elapsedMs: number): readonly number[] {
  const next: number[] = []
  for (let index = 0; index < RECENT_MS.length; index++) {
    next.push(agedRate(rates[index] ?? 0, active, elapsedMs, RECENT_MS[index] ?? HOUR_MS))
  }
  return next
}

/** Requests per millisecond to be expected by one of the windows. */
export function recentHazard(history: ArrivalHistory, index: number, nowMs: number): number {
  const windowMs = RECENT_MS[index] ?? HOUR_MS
  const keep = Math.exp(-Math.max(0, nowMs - history.updatedMs) / windowMs)
  // Before a whole window has been watched, what was not watched must not count as silence.
  const watchedMs = Math.max(MINUTE_MS, nowMs - (history.startedMs ?? nowMs))
  const watched = 1 - Math.exp(-watchedMs / windowMs)
  return hazardOf((((history.rates[index] ?? 0) * keep) / watched) * MINUTE_MS)
}

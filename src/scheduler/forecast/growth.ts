import type { ArrivalHistory } from '../state.ts'
import { agedRate, HOUR_MS, MINUTE_MS } from './active-minutes.ts'

/** Requests are averaged over these, to see whether there are more of them than there were. */
const SHORT_MS = MINUTE_MS
const LONG_MS = 10 * MINUTE_MS
/** And over this, for how many there are at all: enough to tell models apart, few enough to follow the day. */
export const COUNTED_MS = HOUR_MS
/** A trend is followed no further than this, nor believed with few requests to go by or within their noise. */
const GROWTH_MAX = 2
const REQUESTS_MIN = 5

/** Requests per millisecond over the short and the long time, after so many more in `elapsedMs`. */
export function agedRequestRates(
  rates: readonly number[],
  arrivals: number,
  elapsedMs: number,
): readonly number[] {
  return [
    agedRate(rates[0] ?? 0, arrivals, elapsedMs, SHORT_MS),
    agedRate(rates[1] ?? 0, arrivals, elapsedMs, LONG_MS),
    agedRate(rates[2] ?? 0, arrivals, elapsedMs, COUNTED_MS),
  ]
}

/** How many requests there were in about the last hour, older ones counting less. */
export function requestsRemembered({ requestRates, updatedMs }: ArrivalHistory, nowMs: number): number {
  return COUNTED_MS * (requestRates[2] ?? 0) * Math.exp(-Math.max(0, nowMs - updatedMs) / COUNTED_MS)
}

/** The time in which those came, likewise weighted. */
export function watchedMs({ startedMs }: ArrivalHistory, nowMs: number): number {
  return startedMs === undefined
    ? 0
    : COUNTED_MS * (1 - Math.exp(-Math.max(0, nowMs - startedMs) / COUNTED_MS))
}

/** How many times as many requests as now there will be in `aheadMs` if they go on growing as they did; at least 1. */
export function requestGrowth(history: ArrivalHistory, aheadMs: number, nowMs: number): number {
  const rateOver = (windowMs: number, index: number) => {
    const kept =
      (history.requestRates[index] ?? 0) * Math.exp(-Math.max(0, nowMs - history.updatedMs) / windowMs)
    // Of a window that has not been watched whole, what is missing is no sign of growth.
    const watchedMs = Math.max(MINUTE_MS, nowMs - (history.startedMs ?? nowMs))
    return kept / (1 - Math.exp(-watchedMs / windowMs))
  }
  const short = rateOver(SHORT_MS, 0)
  const long = rateOver(LONG_MS, 1)
  const noise = 2 * Math.sqrt(long / SHORT_MS)
  if (long * LONG_MS < REQUESTS_MIN || short - long <= noise) return 1
  return Math.min(GROWTH_MAX, 1 + ((short - long) / (LONG_MS - SHORT_MS)) * (aheadMs / long))
}

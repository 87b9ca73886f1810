export const MINUTE_MS = 60_000
export const HOUR_MS = 3_600_000

/**
 * How many minutes of a time had requests, when so many came spread evenly over it. Forecasts count such minutes
 * instead of requests: of a burst of a hundred, the first finds the model cold and the others do not, so that a
 * hundred of them say no more about the next burst than one. For requests that come independently of each other
 * nothing is lost: `hazardOf` gives their rate back.
 */
export function activeMinutes(arrivals: number, elapsedMs: number): number {
  const minutes = Math.max(1, elapsedMs / MINUTE_MS)
  return minutes * (1 - (1 - 1 / minutes) ** arrivals)
}

/** Requests per millisecond of a Poisson process that has requests in that share of all minutes. */
export function hazardOf(activeShare: number): number {
  return -Math.log1p(-Math.min(activeShare, ACTIVE_SHARE_MAX)) / MINUTE_MS
}

/** Above this share the rate could be anything; it is about four a minute then, and the model is hot in any case. */
const ACTIVE_SHARE_MAX = 0.98

/** An exponentially weighted rate per millisecond after `elapsedMs` more, over which so many came, spread evenly. */
export function agedRate(rate: number, came: number, elapsedMs: number, windowMs: number): number {
  const keep = Math.exp(-elapsedMs / windowMs)
  // A step over a window's whole length forgets part of what it brings itself.
  const added = elapsedMs > 0 ? ((1 - keep) * came) / elapsedMs : came / windowMs
  return rate * keep + added
}

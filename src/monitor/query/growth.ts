import { EXACT_WINDOW_MS, stepOf, type Window } from './sample-ring.ts'

/** Prometheus' bound for a gap at the ends of a window that is taken to be part of it: so many times the usual gap. */
const GAP_TOLERANCE = 1.1

/**
 * By how much a counter grew in a window: what was read, carried on to the window's ends as Prometheus does
 * (`extrapolatedRate` in its `promql/functions.go`), so that both give the same answer. Undefined with fewer than two
 * readings. In windows longer than ten minutes old readings are further apart; one before the window then says that
 * the counter was there all along.
 */
export function growth(window: Window, fromMs: number, toMs: number): number | undefined {
  const ends = endsOf(window)
  if (!ends) return undefined
  const { first, last, readings } = ends
  const { times, values, before } = window
  const firstValue = values[first] ?? 0
  const grown = (values[last] ?? 0) + (before[last] ?? 0) - firstValue - (before[first] ?? 0)
  const sampledMs = (times[last] ?? 0) - (times[first] ?? 0)
  const usualMs = sampledMs / (readings - 1)
  const startMs = (times[first] ?? 0) - fromMs
  // It cannot have been below 0.
  const sinceZeroMs = grown > 0 ? sampledMs * (firstValue / grown) : Number.POSITIVE_INFINITY
  const gapMs = Math.min(startMs, sinceZeroMs)
  const carriedMs =
    continues(window, first, toMs - fromMs) || gapMs < usualMs * GAP_TOLERANCE ? gapMs : usualMs / 2
  const endMs = toMs - (times[last] ?? 0)
  const wholeMs = sampledMs + carriedMs + (endMs < usualMs * GAP_TOLERANCE ? endMs : usualMs / 2)
  return grown * (wholeMs / sampledMs)
}

/** First and last reading that is not an end of the series. */
function endsOf({ values, from, to }: Window) {
  let first = -1
  let last = -1
  let readings = 0
  for (let index = from; index <= to; index++) {
    if (Number.isNaN(values[index] ?? Number.NaN)) continue
    if (readings++ === 0) first = index
    last = index
  }
  return readings < 2 ? undefined : { first, last, readings }
}

function continues({ times, precedingMs }: Window, first: number, windowMs: number): boolean {
  if (windowMs <= EXACT_WINDOW_MS || precedingMs === undefined) return false
  return (times[first] ?? 0) - precedingMs <= 2 * stepOf(windowMs + 1)
}

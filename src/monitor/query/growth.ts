import { EXACT_WINDOW_MS, stepOf, type Window } from './sample-ring.ts'

/** Prometheus' bound for a gap at the ends of a window that is taken to be part of it: so many times the usual gap. */
const GAP_TOLERANCE = 1.1

/**
 * By how much a counter grew in a window: what was read, carried on to the window's ends as Prometheus does
 * (`extrapolatedRate` in its `promql/functions.go`), so that both give the same answer. Undefined with fewer than two
 * readings. In windows longer than half an hour old readings are further apart: there the reading before the window says
 * what belongs to its beginning.
 */
export function growth(window: Window, fromMs: number, toMs: number): number | undefined {
  const ends = endsOf(window)
  if (!ends) return undefined
  const { first, last, readings } = ends
  const { times } = window
  const grown = counted(window, last) - counted(window, first)
  const sampledMs = (times[last] ?? 0) - (times[first] ?? 0)
  const usualMs = sampledMs / (readings - 1)
  const endMs = toMs - (times[last] ?? 0)
  const afterMs = endMs < usualMs * GAP_TOLERANCE ? endMs : usualMs / 2
  const beginning = grownBefore(window, first, fromMs, toMs)
  if (beginning !== undefined) return grown * ((sampledMs + afterMs) / sampledMs) + beginning
  // It cannot have been below 0.
  const sinceZeroMs = grown > 0 ? sampledMs * ((window.values[first] ?? 0) / grown) : Number.POSITIVE_INFINITY
  const startMs = Math.min((times[first] ?? 0) - fromMs, sinceZeroMs)
  const beforeMs = startMs < usualMs * GAP_TOLERANCE ? startMs : usualMs / 2
  return grown * ((sampledMs + beforeMs + afterMs) / sampledMs)
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

/** What of the growth since the reading before the window belongs into it, where readings were thinned out. */
function grownBefore(window: Window, first: number, fromMs: number, toMs: number): number | undefined {
  const { times, precedingMs } = window
  if (toMs - fromMs <= EXACT_WINDOW_MS || precedingMs === undefined) return undefined
  const firstMs = times[first] ?? 0
  const gapMs = firstMs - precedingMs
  if (gapMs > 2 * stepOf(toMs - fromMs + 1)) return undefined
  const grown = counted(window, first) - counted(window, window.from - 1)
  return Number.isNaN(grown) ? undefined : grown * ((firstMs - fromMs) / gapMs)
}

/** What the counter would be if it had never begun again. */
function counted({ values, before }: Window, index: number): number {
  return (values[index] ?? 0) + (before[index] ?? 0)
}

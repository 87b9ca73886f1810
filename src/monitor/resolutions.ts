import type { HistoryPoint, Resolution } from '../contracts/monitor.ts'

/** What a point of each resolution stands for, the finest first. */
export const RESOLUTION_MS = {
  '10s': 10_000,
  '1m': 60_000,
  '1h': 3_600_000,
} as const satisfies Record<Resolution, number>

/** How long points of each resolution are kept. */
export type Retention = Readonly<Record<Resolution, number>>

/** More of them no chart shows. */
export const POINTS_MAX = 1_000

export interface Span {
  readonly fromMs: number
  readonly toMs: number
}

/** So many are read of each series at most, and put together where they are more than a chart shows. */
const READ_MAX = 3 * POINTS_MAX

/** The finest resolution that is kept for the whole span and does not give too many points; else the coarsest. */
export function chooseResolution({ fromMs, toMs }: Span, retention: Retention, nowMs: number): Resolution {
  for (const resolution of ['10s', '1m'] as const) {
    const isKept = fromMs >= nowMs - retention[resolution]
    if (isKept && (toMs - fromMs) / RESOLUTION_MS[resolution] <= READ_MAX) return resolution
  }
  return '1h'
}

/** The beginning of the span of `stepMs` in which a moment lies. */
export function beginningOf(atMs: number, stepMs: number): number {
  return Math.floor(atMs / stepMs) * stepMs
}

/** Coarse points that one statement makes of finer ones at most: a day of hours. */
const ROLLED_AT_ONCE = 24

export interface RollUpState {
  readonly stepMs: number
  /** Where the newest coarse point begins. */
  readonly newestMs: number | undefined
  /** Where the oldest fine point begins. */
  readonly oldestFineMs: number | undefined
  /** Where the oldest fine point begins that was written just now: it may be of a span that was rolled up before. */
  readonly writtenMs: number | undefined
  readonly nowMs: number
}

/**
 * The whole spans whose coarse points are to be made now, in pieces: from where the last ended, or from the oldest point that
 * came after that, to the one that is still running.
 */
export function spansToRollUp(state: RollUpState): readonly Span[] {
  const { stepMs, newestMs, oldestFineMs, writtenMs, nowMs } = state
  const next = newestMs === undefined ? oldestFineMs : newestMs + stepMs
  if (next === undefined) return []
  const endMs = beginningOf(nowMs, stepMs)
  const spans: Span[] = []
  let fromMs = beginningOf(Math.min(next, writtenMs ?? next), stepMs)
  while (fromMs < endMs) {
    const toMs = Math.min(endMs, fromMs + ROLLED_AT_ONCE * stepMs)
    spans.push({ fromMs, toMs })
    fromMs = toMs
  }
  return spans
}

/** Points of equal length, so many put together that at most `POINTS_MAX` are left. */
export function thinned(points: readonly HistoryPoint[]): readonly HistoryPoint[] {
  const together = Math.ceil(points.length / POINTS_MAX)
  if (together <= 1) return points
  const thin: HistoryPoint[] = []
  for (let start = 0; start < points.length; start += together)
    thin.push(...merged(points.slice(start, start + together)))
  return thin
}

function merged(points: readonly HistoryPoint[]): readonly HistoryPoint[] {
  const [first] = points
  if (!first) return []
  return [
    {
      atMs: first.atMs,
      value: points.reduce((sum, { value }) => sum + value, 0) / points.length,
      low: Math.min(...points.map(({ low }) => low)),
      high: Math.max(...points.map(({ high }) => high)),
    },
  ]
}

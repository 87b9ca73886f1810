import { HOUR_MS } from './active-minutes.ts'

/** Pauses are told apart by three hundredths of their length, from ten seconds to a week. */
const SHORTEST_MS = 10_000
const GROWTH = 1.03
const LOG_GROWTH = Math.log(GROWTH)
export const PAUSE_BINS = Math.ceil(Math.log((168 * HOUR_MS) / SHORTEST_MS) / LOG_GROWTH) + 1

/** Lower ends of the bins; what is longer than the last lies in the last. */
const BIN_STARTS_MS: readonly number[] = Array.from({ length: PAUSE_BINS + 1 }, (_, bin) =>
  bin === 0 ? 0 : SHORTEST_MS * GROWTH ** (bin - 1),
)

/** Pauses that what is otherwise known of the model is worth. */
const PRIOR_PAUSES = 1

/** The histogram with `count` more pauses of that length. */
export function withPauses(pauses: readonly number[], lengthMs: number, count: number): readonly number[] {
  const next = pauses.length === 0 ? new Array<number>(PAUSE_BINS).fill(0) : [...pauses]
  const bin = binOf(lengthMs)
  next[bin] = (next[bin] ?? 0) + count
  return next
}

/** The histogram with what it holds weighing less. */
export function agedPauses(pauses: readonly number[], keep: number): readonly number[] {
  return pauses.map((count) => count * keep)
}

/**
 * Of a pause that has lasted `idleMs`, the chance that it ends within a horizon, by the pauses that were at least as
 * long: the idle-time histogram of "Serverless in the Wild" (Shahrad et al., ATC 2020). Where few were, `hazard` counts
 * as one more: requests per millisecond, from elsewhere.
 */
export function pauseEnds(
  pauses: readonly number[],
  idleMs: number,
  hazard: number,
): (horizonMs: number) => number {
  const first = binOf(idleMs)
  // Counts beyond the ends of the bins, from the idle time's own on.
  const beyondBins = new Array<number>(PAUSE_BINS - first).fill(0)
  for (let bin = PAUSE_BINS - 2; bin >= first; bin--) {
    beyondBins[bin - first] = (beyondBins[bin - first + 1] ?? 0) + (pauses[bin + 1] ?? 0)
  }
  const beyond = (lengthMs: number) => {
    const bin = binOf(lengthMs)
    const startMs = BIN_STARTS_MS[bin] ?? 0
    const endMs = BIN_STARTS_MS[bin + 1] ?? startMs
    // Within a bin they are spread evenly.
    const part = Math.min(1, Math.max(0, (endMs - lengthMs) / (endMs - startMs)))
    return (beyondBins[bin - first] ?? 0) + (pauses[bin] ?? 0) * part
  }
  const longer = beyond(idleMs)
  return (horizonMs) => {
    const ended = longer - beyond(idleMs + horizonMs) + PRIOR_PAUSES * -Math.expm1(-hazard * horizonMs)
    return ended / (longer + PRIOR_PAUSES)
  }
}

function binOf(lengthMs: number): number {
  if (lengthMs < SHORTEST_MS) return 0
  return Math.min(PAUSE_BINS - 1, 1 + Math.floor(Math.log(lengthMs / SHORTEST_MS) / LOG_GROWTH))
}

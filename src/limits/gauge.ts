import type { Counter } from './counter.ts'

interface Gauge {
  used: number
}

/** A place comes free when somebody leaves, and nobody knows when that is. */
const TRY_AGAIN_MS = 1_000

/** At most `limit` at the same time: what was taken is given back by an adjustment. */
export const gauge: Counter<Gauge> = {
  start: () => ({ used: 0 }),
  advance: () => {},
  remaining: (terms, state) => terms.limit - state.used,
  waitMs: (terms, state, cost) => {
    if (cost > terms.limit) return Number.POSITIVE_INFINITY
    return state.used + cost <= terms.limit ? 0 : TRY_AGAIN_MS
  },
  resetMs: (_terms, state) => (state.used > 0 ? TRY_AGAIN_MS : 0),
  take: (_terms, state, cost) => {
    state.used += cost
    return 0
  },
  adjust: (_terms, state, _entry, by) => {
    state.used += by
  },
  isFresh: (_terms, state) => state.used === 0,
}

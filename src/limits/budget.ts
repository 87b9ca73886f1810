import type { Counter } from './counter.ts'

interface Spent {
  /** Undefined until somebody has said what was spent before: then nothing can be decided. */
  used: number | undefined
}

/**
 * At most `limit` in all, of one period: the period is part of the counter's name. It does not begin at nothing but at
 * what the database knows.
 */
export const budget: Counter<Spent> = {
  start: () => ({ used: undefined }),
  advance: () => {},
  remaining: (terms, spent) => terms.limit - (spent.used ?? 0),
  // Its period may end first, but that is another counter.
  waitMs: (terms, spent, cost) => ((spent.used ?? 0) + cost <= terms.limit ? 0 : Number.POSITIVE_INFINITY),
  resetMs: () => 0,
  // What is charged before that is in what it is seeded with.
  take: (_terms, spent, cost) => {
    if (spent.used !== undefined) spent.used += cost
    return 0
  },
  adjust: (_terms, spent, _entry, by) => {
    if (spent.used !== undefined) spent.used += by
  },
  isFresh: () => false,
}

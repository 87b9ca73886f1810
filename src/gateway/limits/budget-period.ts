import type { BudgetPeriod } from '../../contracts/limits.ts'

export interface Period {
  readonly startMs: number
  readonly endMs: number
}

const DAY_MS = 86_400_000
/** 1970 began on a Thursday. */
const MONDAY_MS = 4 * DAY_MS

/** The day, week from Monday, or month that holds a moment, in UTC. */
export function periodAt(period: BudgetPeriod, atMs: number): Period {
  switch (period) {
    case 'day':
      return spanOf(atMs, DAY_MS, 0)
    case 'week':
      return spanOf(atMs, 7 * DAY_MS, MONDAY_MS)
    case 'month': {
      const at = new Date(atMs)
      const month = at.getUTCMonth()
      const year = at.getUTCFullYear()
      return { startMs: Date.UTC(year, month), endMs: Date.UTC(year, month + 1) }
    }
  }
}

function spanOf(atMs: number, lengthMs: number, firstMs: number): Period {
  const startMs = firstMs + Math.floor((atMs - firstMs) / lengthMs) * lengthMs
  return { startMs, endMs: startMs + lengthMs }
}

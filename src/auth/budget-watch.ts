import type { Clock } from '../core/clock.ts'
import type { Stoppable } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import { fullestBudgets } from '../storage/budget-use.ts'
import type { Database } from '../storage/database.ts'
import { acrossOrganisations } from '../storage/tenancy.ts'
import { startRegularly } from './regularly.ts'

export interface BudgetWatchOptions {
  readonly database: Database
  readonly metrics: Metrics
  readonly clock: Clock
  readonly log: Logger
}

const EVERY_MS = 30_000
/** Nobody is warned of one that is less full. */
const RATIO_MIN = 0.5
const BUDGETS_MAX = 200
/** With very many budgets it is looked at them less often: not more than a twentieth of the time. */
const REST_PER_WORK = 19

/**
 * Tells how full budgets are. Each auth service looks by itself, and all say the same: were it one for all, nobody would be
 * warned while that one stands still.
 */
export function startBudgetWatch({ database, metrics, clock, log }: BudgetWatchOptions): Promise<Stoppable> {
  let told: ReadonlySet<string> = new Set()
  let restUntilMs = 0
  return startRegularly({
    everyMs: EVERY_MS,
    failure: 'budgets could not be looked at',
    work: async () => {
      const startedMs = clock.monotonic()
      if (startedMs < restUntilMs) return
      const query = { nowMs: clock.now(), ratioMin: RATIO_MIN, budgetsMax: BUDGETS_MAX }
      const budgets = await acrossOrganisations(database, (queries) => fullestBudgets(queries, query))
      const endedMs = clock.monotonic()
      restUntilMs = endedMs + (endedMs - startedMs) * REST_PER_WORK
      const present = new Set(budgets.map(({ ruleId }) => ruleId))
      for (const rule of told) if (!present.has(rule)) metrics.drop('helixflow_budget_used_ratio', { rule })
      for (const { ruleId: rule, usedRatio } of budgets)
        metrics.set('helixflow_budget_used_ratio', { rule }, usedRatio)
      told = present
    },
    clock,
    log,
  })
}

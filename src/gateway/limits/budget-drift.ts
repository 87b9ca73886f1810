import type { SpendClient } from '../../contracts/limits.ts'
import { MONEY_UNIT } from '../../contracts/limits.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics.ts'
import type { Charge, LimitStore } from '../../limits/store.ts'

export interface BudgetDriftOptions {
  readonly store: LimitStore
  readonly spend: SpendClient
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: Metrics
}

interface Used {
  readonly tenant: string
  readonly charge: Charge
  /** The end of its period, on the calendar: records of the next one are not for it. */
  readonly endsAtMs: number
  running: number
  idleSinceMs: number
  /** What was told last. */
  toldBy: number
}

/** By then the records of requests that have ended are in the database. */
const IDLE_MS = 10_000
const CHECK_EVERY_MS = 30_000
const WATCHED_MAX = 10_000

/**
 * Compares the counters of budgets with the records of what requests cost. Both are made of the same requests in
 * different ways; while nothing runs they must say the same.
 */
export class BudgetDrift {
  private readonly used = new Map<string, Used>()
  private cancel = () => {}
  private stopped = false

  constructor(private readonly options: BudgetDriftOptions) {
    this.checkLater()
  }

  /** A request began to be charged to this budget. */
  began(tenant: string, charge: Charge, endsAtMs: number): void {
    const name = `${tenant}/${charge.key}`
    const known = this.used.get(name)
    if (known) known.running++
    else if (this.used.size < WATCHED_MAX)
      this.used.set(name, { tenant, charge, endsAtMs, running: 1, idleSinceMs: 0, toldBy: 0 })
  }

  ended(tenant: string, charge: Charge): void {
    const known = this.used.get(`${tenant}/${charge.key}`)
    if (!known) return
    known.running--
    known.idleSinceMs = this.options.clock.monotonic()
  }

  stop(): void {
    this.stopped = true
    this.cancel()
  }

  /** Sets the metric; budgets that are idle and agree are not looked at again before they are used. */
  async check(): Promise<void> {
    const { clock, metrics, log } = this.options
    const settledMs = clock.monotonic() - IDLE_MS
    let drift = 0
    for (const [name, one] of this.used) {
      if (one.running > 0 || one.idleSinceMs > settledMs) continue
      const over = one.endsAtMs <= clock.now()
      const by = over ? 0 : await this.driftOf(one)
      if (by === 0) this.used.delete(name)
      else if (by !== one.toldBy)
        log.warn('a budget differs from its records', { budget: name, by: by / MONEY_UNIT })
      one.toldBy = by
      drift += Math.abs(by)
    }
    metrics.set('helixflow_budget_drift', {}, drift / MONEY_UNIT)
  }

  private async driftOf({ tenant, charge }: Used): Promise<number> {
    const { store, spend } = this.options
    const [spent = 0] = charge.spend ? await spend.spent(tenant, [charge.spend]) : []
    const [standing] = await store.peek(tenant, [charge])
    // An overdrawn budget has nothing left, however much it is.
    const counted = charge.limit - (standing?.remaining ?? 0)
    return Math.min(spent, charge.limit) - counted
  }

  private checkLater(): void {
    this.cancel = this.options.clock.schedule(CHECK_EVERY_MS, async () => {
      try {
        await this.check()
      } catch (reason) {
        this.options.log.debug('budgets could not be compared', { cause: HelixError.from(reason).message })
      }
      if (!this.stopped) this.checkLater()
    })
  }
}

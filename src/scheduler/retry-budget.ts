export interface RetryBudgetOptions {
  /** Retries that each request earns for all. */
  readonly perRequest: number
  /** Retries that each second earns, for those who rarely ask. */
  readonly perSecond: number
  /** Retries that may be saved up; also what there is at the start. */
  readonly max: number
}

/** A fifth more load at most, or ten a second where that is more. */
export const RETRY_BUDGET: RetryBudgetOptions = { perRequest: 0.2, perSecond: 10, max: 20 }

/**
 * Bounds how many requests are tried again, as a share of all: when everything fails, retries would only multiply the
 * load on what is left (Finagle's budget, with its numbers).
 */
export class RetryBudget {
  private left: number
  private updatedMs: number | undefined

  constructor(private readonly options: RetryBudgetOptions = RETRY_BUDGET) {
    this.left = options.max
  }

  requested(): void {
    this.left = Math.min(this.options.max, this.left + this.options.perRequest)
  }

  /** Takes one retry; false when there is none left. */
  take(nowMs: number): boolean {
    const { perSecond, max } = this.options
    const elapsedMs = Math.max(0, nowMs - (this.updatedMs ?? nowMs))
    this.updatedMs = nowMs
    this.left = Math.min(max, this.left + (elapsedMs * perSecond) / 1_000)
    if (this.left < 1) return false
    this.left -= 1
    return true
  }
}

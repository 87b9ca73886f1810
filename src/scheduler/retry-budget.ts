export interface RetryBudgetOptions {
  /** Retries that each request earns for all. */
  readonly perRequest: number
  /** Retries that may be saved up; also what there is at the start. */
  readonly max: number
}

/** A tenth more load at most, and ten retries for those who rarely ask. */
export const RETRY_BUDGET: RetryBudgetOptions = { perRequest: 0.1, max: 10 }

/**
 * Bounds how many requests are tried again, as a share of all: when everything fails, retries would only multiply the
 * load on what is left (the budget of Finagle, and of gRPC's retry throttling).
 */
export class RetryBudget {
  private left: number

  constructor(private readonly options: RetryBudgetOptions = RETRY_BUDGET) {
    this.left = options.max
  }

  requested(): void {
    this.left = Math.min(this.options.max, this.left + this.options.perRequest)
  }

  /** Takes one retry; false when there is none left. */
  take(): boolean {
    if (this.left < 1) return false
    this.left -= 1
    return true
  }
}

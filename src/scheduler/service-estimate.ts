import { type TokenCounts, tokenCost } from './fair-queue.ts'

/** What is known of a request before it is answered. */
export interface ExpectedTokens {
  readonly promptTokens: number
  /** Of all its answers together; undefined where the request does not say. */
  readonly outputTokensMax: number | undefined
  /** How many answers it wants. */
  readonly choices: number
}

/** What one request will probably take. */
export interface Estimate {
  /** As `tokenCost` counts. */
  readonly cost: number
  readonly serviceMs: number
}

/** Before anything was learnt: a paragraph, from a machine without a card. */
const OUTPUT_TOKENS_FIRST = 256
const MS_PER_COST_FIRST = 5
/** Half of an estimate comes from the last fourteen requests. */
const NEWEST = 0.05

/** What requests for one model probably take, learnt from those that were answered. */
export class ServiceEstimate {
  private outputTokens = OUTPUT_TOKENS_FIRST
  private msPerCostNow = MS_PER_COST_FIRST
  private learnt = 0

  /** Of one request, beside others as they were. */
  get msPerCost(): number {
    return this.msPerCostNow
  }

  of({ promptTokens, outputTokensMax, choices }: ExpectedTokens): Estimate {
    const completionTokens = Math.min(
      choices * this.outputTokens,
      outputTokensMax ?? Number.POSITIVE_INFINITY,
    )
    const cost = tokenCost({ promptTokens, completionTokens, cachedTokens: 0 })
    return { cost, serviceMs: cost * this.msPerCostNow }
  }

  /** One was answered. */
  learn(tokens: TokenCounts, { choices }: Pick<ExpectedTokens, 'choices'>, tookMs: number): void {
    const cost = tokenCost(tokens)
    if (cost <= 0) return
    // The first few count as much as all before them together.
    const newest = Math.max(NEWEST, 1 / (2 + this.learnt++))
    this.outputTokens += newest * (tokens.completionTokens / choices - this.outputTokens)
    this.msPerCostNow += newest * (tookMs / cost - this.msPerCostNow)
  }
}

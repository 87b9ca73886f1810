/** What a million tokens cost, in billionths of the unit of money. */
export interface Price {
  readonly input: number
  /** Of input that the engine had worked on before. */
  readonly cachedInput: number
  readonly output: number
}

/** The tokens that are paid for. */
export interface PricedUsage {
  readonly promptTokens: number
  readonly completionTokens: number
  /** The part of the prompt that the engine had worked on before. */
  readonly cachedTokens: number
}

/** The model whose price holds for all that have none of their own. */
export const ANY_MODEL = '*'

const PRICED_TOKENS = 1_000_000n

/**
 * What a request costs, in billionths. Price times tokens is exact; what is left of a billionth at the end counts as a
 * whole one, once for the request, so that a sum of costs is never below what the prices say.
 */
export function costOf(price: Price, { promptTokens, completionTokens, cachedTokens }: PricedUsage): number {
  const cached = Math.min(cachedTokens, promptTokens)
  // Beyond what a double can hold exactly: a price of 15 is 15 * 10^9 billionths, times a million tokens.
  const millionths =
    BigInt(price.input) * BigInt(promptTokens - cached) +
    BigInt(price.cachedInput) * BigInt(cached) +
    BigInt(price.output) * BigInt(completionTokens)
  const billionths = (millionths + PRICED_TOKENS - 1n) / PRICED_TOKENS
  return Math.min(Number(billionths), Number.MAX_SAFE_INTEGER)
}

/** The price of each model of a table; undefined where it names neither the model nor any. */
export function priceList(prices: Readonly<Record<string, Price>>): (model: string) => Price | undefined {
  const list = new Map(Object.entries(prices))
  return (model) => list.get(model) ?? list.get(ANY_MODEL)
}

import type { Price } from '../../contracts/prices.ts'
import { costOf } from '../../contracts/prices.ts'
import type { Standing } from '../../limits/store.ts'
import type { Exchange } from '../dispatch/exchange.ts'
import type { Binding } from './bindings.ts'

/** What a request may use at most: what is reserved before it begins. */
export interface WorstCase {
  readonly promptTokens: number
  readonly outputTokens: number
  /** What each choice may have; undefined: the request says so itself. */
  readonly outputTokensPerChoice: number | undefined
}

export interface ModelFacts {
  /** Tokens of prompt and answer together; undefined while nobody has said so. */
  readonly contextLength: number | undefined
  readonly price: Price | undefined
}

/**
 * The prompt by an upper bound of its tokens, the answer as the request says. Where it does not say, it gets what the
 * context, the settings and the smallest of its limits leave, so that no limit is ever overdrawn; the engine is told.
 */
export function worstCase(
  exchange: Exchange,
  bindings: readonly Binding[],
  { contextLength = Number.POSITIVE_INFINITY, price }: ModelFacts,
  outputTokensDefault: number,
): WorstCase {
  const { promptTokensMax, promptCount, outputTokensMax } = exchange.size()
  const promptTokens = Math.min(promptTokensMax, contextLength * promptCount)
  if (outputTokensMax !== undefined) {
    const outputTokens = Math.min(outputTokensMax, contextLength) * exchange.choices
    return { promptTokens, outputTokens, outputTokensPerChoice: undefined }
  }
  const left = bindings.map((binding) =>
    outputLeft(binding, promptTokens, { price, units: binding.terms.burst }),
  )
  const whole = Math.min(...left) / exchange.choices
  const each = Math.max(1, Math.floor(Math.min(outputTokensDefault, contextLength, whole)))
  return { promptTokens, outputTokens: each * exchange.choices, outputTokensPerChoice: each }
}

/** A shorter answer would be of little use to anybody. */
const OUTPUT_TOKENS_MIN = 256

/**
 * The same request with what its limits have left at the moment, where it did not say how long its answer may be: better
 * a shorter answer now than none for the rest of a window. Undefined where too little is left.
 */
export function lessOutput(
  { choices }: Pick<Exchange, 'choices'>,
  bindings: readonly Binding[],
  worst: WorstCase,
  left: { readonly standings: readonly Standing[]; readonly price: Price | undefined },
): WorstCase | undefined {
  const { promptTokens, outputTokensPerChoice } = worst
  if (outputTokensPerChoice === undefined) return undefined
  const tokens = bindings.map((binding, place) =>
    outputLeft(binding, promptTokens, { price: left.price, units: left.standings[place]?.remaining ?? 0 }),
  )
  const each = Math.floor(Math.min(...tokens) / choices)
  if (each < OUTPUT_TOKENS_MIN || each >= outputTokensPerChoice) return undefined
  return { promptTokens, outputTokens: each * choices, outputTokensPerChoice: each }
}

/** What a rule charges. */
export function costFor({ rule }: Binding, worst: WorstCase, price: Price | undefined): number {
  return chargeOf(rule.measure, worst.promptTokens, worst.outputTokens, () =>
    price ? costOf(price, { ...asUsage(worst), cachedTokens: 0 }) : 0,
  )
}

/** What a rule charges in the end; a place that was taken is given back. */
export function actualCost(
  { rule }: Binding,
  usage: {
    readonly promptTokens: number
    readonly completionTokens: number
    readonly cachedTokens: number
  },
  price: Price | undefined,
): number {
  if (rule.measure === 'concurrency') return 0
  return chargeOf(rule.measure, usage.promptTokens, usage.completionTokens, () =>
    price ? costOf(price, usage) : 0,
  )
}

function chargeOf(
  measure: Binding['rule']['measure'],
  promptTokens: number,
  outputTokens: number,
  money: () => number,
): number {
  switch (measure) {
    case 'requests':
    case 'concurrency':
      return 1
    case 'tokens':
      return promptTokens + outputTokens
    case 'input_tokens':
      return promptTokens
    case 'output_tokens':
      return outputTokens
    case 'money':
      return money()
  }
}

/** Tokens that an answer may have while a rule has so many units for it. */
function outputLeft(
  { rule }: Binding,
  promptTokens: number,
  { price, units }: { readonly price: Price | undefined; readonly units: number },
): number {
  switch (rule.measure) {
    case 'tokens':
      return units - promptTokens
    case 'output_tokens':
      return units
    case 'money': {
      if (!price || price.output === 0) return Number.POSITIVE_INFINITY
      const prompt = costOf(price, { promptTokens, completionTokens: 0, cachedTokens: 0 })
      // Costs are rounded up to the next billionth.
      return ((units - prompt - 1) / price.output) * 1_000_000
    }
    default:
      return Number.POSITIVE_INFINITY
  }
}

function asUsage({ promptTokens, outputTokens }: WorstCase) {
  return { promptTokens, completionTokens: outputTokens }
}

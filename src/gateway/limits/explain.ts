import { duration } from '../../config/quantities.ts'
import type { EffectiveLimit } from '../../contracts/limits.ts'
import { formatMoney, parseMoney } from '../../core/money.ts'
import type { Standing } from '../../limits/store.ts'
import { type Binding, bindingOf } from './bindings.ts'
import { describe } from './denial.ts'
import { durationText } from './rate-headers.ts'

/** One rule that binds somebody, and what is left of it. */
export interface ExplainedLimit {
  readonly ruleId: string
  readonly rule: string
  /** Requests, tokens or places; of money a decimal. */
  readonly remaining: number | string
  /** Until all of it is there again. */
  readonly reset: string
  readonly shapes: boolean
}

/** The rules for a model, or for all where none is given. */
export function bindingsToExplain(
  limits: readonly EffectiveLimit[],
  model: string | undefined,
  nowMs: number,
): readonly Binding[] {
  return limits
    .filter((rule) => model === undefined || rule.model === undefined || rule.model === model)
    .map((rule) => bindingOf(rule, nowMs))
}

export function explained(
  bindings: readonly Binding[],
  standings: readonly Standing[],
  nowMs: number,
): readonly ExplainedLimit[] {
  return bindings.map((binding, place) => {
    const { remaining, resetMs } = standings[place] ?? { remaining: 0, resetMs: 0 }
    const { rule, period } = binding
    return {
      ruleId: rule.ruleId,
      rule: describe(binding),
      remaining: rule.measure === 'money' ? formatMoney(remaining) : remaining,
      reset: durationText(period ? period.endMs - nowMs : resetMs),
      shapes: rule.shapeMaxWaitMs > 0,
    }
  })
}

/** An effective limit as administration shows it. */
export interface ShownLimit {
  readonly ruleId: string
  readonly subject: EffectiveLimit['subject']
  readonly measure: EffectiveLimit['measure']
  readonly model?: string | undefined
  readonly limit: number | string
  readonly window?: string | undefined
  readonly algorithm?: EffectiveLimit['algorithm'] | undefined
  readonly burst?: number | undefined
  readonly period?: EffectiveLimit['period'] | undefined
  readonly shapeMaxWait?: string | undefined
}

export function fromShown(shown: ShownLimit): EffectiveLimit {
  const { ruleId, subject, measure, model, limit, algorithm, burst, period } = shown
  return {
    ruleId,
    subject,
    measure,
    model,
    amount: measure === 'money' ? (parseMoney(String(limit)) ?? 0) : Number(limit),
    algorithm: algorithm ?? 'token-bucket',
    windowMs: shown.window === undefined ? 0 : duration().parse(shown.window),
    burst,
    period,
    shapeMaxWaitMs: shown.shapeMaxWait === undefined ? 0 : duration().parse(shown.shapeMaxWait),
  }
}

import type { Identity } from '../../contracts/auth.ts'
import type { EffectiveLimit } from '../../contracts/limits.ts'
import type { Terms } from '../../limits/counter.ts'
import { type Period, periodAt } from './budget-period.ts'

/** A rule that holds for a request, and the counter that it is charged to. */
export interface Binding {
  readonly rule: EffectiveLimit
  /** Names the counter, within its organisation. */
  readonly key: string
  readonly terms: Terms
  /** Of a budget. */
  readonly period: Period | undefined
}

interface Bound {
  readonly bindings: readonly Binding[]
  /** When the first of their periods is over. */
  readonly untilMs: number
}

/** One per identity, which is a new object whenever anything about it may have changed. */
const known = new WeakMap<Identity, Map<string | undefined, Bound>>()

/** The rules that bind somebody for a model. Worked out once for each model that a rule names. */
export function bindingsOf(identity: Identity, model: string, nowMs: number): readonly Binding[] {
  let models = known.get(identity)
  if (!models) {
    models = new Map()
    known.set(identity, models)
  }
  // Callers may name any model: those that no rule names are one.
  const named = identity.limits.some((rule) => rule.model === model) ? model : undefined
  let bound = models.get(named)
  if (!bound || bound.untilMs <= nowMs) {
    bound = bind(identity.limits, named, nowMs)
    models.set(named, bound)
  }
  return bound.bindings
}

function bind(limits: readonly EffectiveLimit[], model: string | undefined, nowMs: number): Bound {
  const bindings = limits
    .filter((rule) => rule.model === undefined || rule.model === model)
    .map((rule) => bindingOf(rule, nowMs))
  const ends = bindings.map(({ period }) => period?.endMs ?? Number.POSITIVE_INFINITY)
  return { bindings, untilMs: Math.min(...ends) }
}

/** @param nowMs on the calendar: which budget it is */
export function bindingOf(rule: EffectiveLimit, nowMs: number): Binding {
  const { ruleId, subject, measure, amount, algorithm, windowMs, burst } = rule
  const name = `${ruleId}/${subject.id}`
  if (measure === 'money') {
    const period = periodAt(rule.period ?? 'month', nowMs)
    const key = `${name}@${new Date(period.startMs).toISOString().slice(0, 10)}`
    return { rule, key, period, terms: { kind: 'budget', limit: amount, windowMs: 0, burst: amount } }
  }
  if (measure === 'concurrency') {
    return {
      rule,
      key: name,
      period: undefined,
      terms: { kind: 'gauge', limit: amount, windowMs: 0, burst: amount },
    }
  }
  // A rule whose algorithm was changed begins anew: the states of two algorithms say different things.
  const key = `${name}#${algorithm}`
  const holds = algorithm === 'token-bucket' ? (burst ?? amount) : amount
  return { rule, key, period: undefined, terms: { kind: algorithm, limit: amount, windowMs, burst: holds } }
}

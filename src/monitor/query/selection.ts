import type { Condition, Query } from './query.ts'

type Matcher = string | readonly string[] | RegExp

/** Any selection, once the types have made sure that its metric and labels exist. */
export interface AnySelection {
  readonly metric: string
  readonly where?: { readonly [label: string]: Matcher | undefined } | undefined
  readonly by?: readonly string[] | undefined
}

/** Whether a series with these labels is selected. A label that it lacks is empty, as in Prometheus. */
export function selects({ where }: AnySelection, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(where ?? {}).every(
    ([label, matcher]) => matcher === undefined || matches(matcher, labels[label] ?? ''),
  )
}

function matches(matcher: Matcher, value: string): boolean {
  if (typeof matcher === 'string') return value === matcher
  return matcher instanceof RegExp ? anchored(matcher).test(value) : matcher.includes(value)
}

const anchoredOnes = new WeakMap<RegExp, RegExp>()

function anchored(expression: RegExp): RegExp {
  let whole = anchoredOnes.get(expression)
  if (!whole) {
    whole = new RegExp(`^(?:${expression.source})$`, 's')
    anchoredOnes.set(expression, whole)
  }
  return whole
}

/** The labels by which the answers of a question are told apart. */
export function labelsOf(query: Query): readonly string[] {
  switch (query.kind) {
    case 'ratio':
    case 'difference':
    case 'sum':
    case 'scale':
      return labelsOf(query.of)
    default:
      return query.by ?? []
  }
}

/** The labels of the alerts that a condition makes. */
export function labelsOfCondition(condition: Condition): readonly string[] {
  if (condition.kind === 'all') return labelsOfCondition(condition.of[0])
  return condition.kind === 'absent' ? [] : labelsOf(condition.query)
}

/** Whether two answers are matched set by set, and not one of the second with several of the first. */
export function sameLabels(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((label) => right.includes(label))
}

/** All questions that a condition asks, those inside of others too. */
export function queriesOf(condition: Condition): readonly Query[] {
  if (condition.kind === 'all') return condition.of.flatMap(queriesOf)
  if (condition.kind === 'absent') return [{ ...condition, kind: 'gauge', combine: 'max' }]
  return [condition.query, ...(typeof condition.bound === 'number' ? [] : [condition.bound])].flatMap(parts)
}

/** A question and those that it is made of. */
export function parts(query: Query): readonly Query[] {
  switch (query.kind) {
    case 'ratio':
      return [query, ...parts(query.of), ...parts(query.to)]
    case 'difference':
      return [query, ...parts(query.of), ...parts(query.less)]
    case 'sum':
      return [query, ...parts(query.of), ...parts(query.and)]
    case 'scale':
      return [query, ...parts(query.of)]
    default:
      return [query]
  }
}

import type { Condition, Query } from '../query/query.ts'

export const MINUTE_MS = 60_000
export const HOUR_MS = 3_600_000
export const DAY_MS = 86_400_000

export function above(query: Query, bound: number | Query): Condition {
  return { kind: 'above', query, bound }
}

export function below(query: Query, bound: number | Query): Condition {
  return { kind: 'below', query, bound }
}

export function all(first: Condition, ...others: readonly Condition[]): Condition {
  return { kind: 'all', of: [first, ...others] }
}

export function share(of: Query, to: Query): Query {
  return { kind: 'ratio', of, to }
}

/** Of a question for so much a second: how many in its window. Few say nothing of a share or a quantile. */
export function countOf(query: Extract<Query, { readonly kind: 'observed' }>): Query {
  return { kind: 'scale', of: query, by: query.windowMs / 1000 }
}

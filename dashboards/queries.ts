import type { CounterName, GaugeName, HistogramName, MetricName } from '../src/core/metrics.ts'
import type { Query, Selection } from '../src/monitor/query/query.ts'

/**
 * Over how long rates are taken. On a dashboard this window is Grafana's business: it is written as `$__rate_interval`, which
 * follows the span that is looked at and how often Prometheus reads.
 */
export const RATE_WINDOW_MS = 5 * 60_000

export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS

type Combine = 'sum' | 'max' | 'min' | 'avg'
type Which<Name extends MetricName> = Omit<Selection<Name>, 'metric'>

export function gauge<Name extends GaugeName>(
  combine: Combine,
  metric: Name,
  which: Which<Name> = {},
): Query {
  return joined({ kind: 'gauge', combine }, metric, which)
}

export function rate<Name extends CounterName>(metric: Name, which: Which<Name> = {}): Query {
  return joined({ kind: 'rate', windowMs: RATE_WINDOW_MS }, metric, which)
}

export function increase<Name extends CounterName>(
  windowMs: number,
  metric: Name,
  which: Which<Name> = {},
): Query {
  return joined({ kind: 'increase', windowMs }, metric, which)
}

export function quantile<Name extends HistogramName>(
  share: number,
  metric: Name,
  which: Which<Name> = {},
): Query {
  return joined({ kind: 'quantile', quantile: share, windowMs: RATE_WINDOW_MS }, metric, which)
}

export function mean<Name extends HistogramName>(metric: Name, which: Which<Name> = {}): Query {
  return joined({ kind: 'mean', windowMs: RATE_WINDOW_MS }, metric, which)
}

/** Observations a second. */
export function observed<Name extends HistogramName>(metric: Name, which: Which<Name> = {}): Query {
  return joined({ kind: 'observed', windowMs: RATE_WINDOW_MS }, metric, which)
}

export function age<Name extends GaugeName>(
  combine: 'max' | 'min',
  metric: Name,
  which: Which<Name> = {},
): Query {
  return joined({ kind: 'age', combine }, metric, which)
}

export function ratio(of: Query, to: Query): Query {
  return { kind: 'ratio', of, to }
}

/** Where there is a whole but no part of it, the share is 0. */
export function share(of: Query, to: Query): Query {
  return { kind: 'ratio', of, to, orZero: true }
}

export function times(of: Query, by: number): Query {
  return { kind: 'scale', of, by }
}

/** The type of a query goes by its metric, which the compiler does not follow through a spread. */
function joined<Name extends MetricName>(head: object, metric: Name, which: Which<Name>): Query {
  return { ...head, metric, ...which } as Query
}

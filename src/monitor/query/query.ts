import type { CounterName, GaugeName, HistogramName, METRICS, MetricName } from '../../core/metrics.ts'

type LabelOf<Name extends MetricName> = (typeof METRICS)[Name]['labels'][number]
/** Also what every reading of a process carries beside the labels of the metric. */
export type Label<Name extends MetricName> = LabelOf<Name> | 'instance' | 'role'

/** Which series, and by which labels they are told apart in the end. */
export interface Selection<Name extends MetricName> {
  readonly metric: Name
  /** A label's value, several, or a regular expression that is anchored at both ends, as in Prometheus. */
  readonly where?: { readonly [L in Label<Name>]?: string | readonly string[] | RegExp } | undefined
  readonly by?: readonly Label<Name>[] | undefined
}

/**
 * A question about metrics, as data: asked of what the monitor has read (`evaluate.ts`), or written out for Prometheus
 * (`promql.ts`), with the same answer. Every answer is a number for each set of labels.
 */
export type Query =
  /** What gauges say now, put together. */
  | ({ readonly kind: 'gauge'; readonly combine: 'sum' | 'max' | 'min' | 'avg' } & AnySelection<GaugeName>)
  /** The same over a window: the extreme or the mean of what each said in it, before they are put together. */
  | ({
      readonly kind: 'over'
      readonly windowMs: number
      readonly extreme: 'max' | 'min' | 'avg'
      readonly combine: 'sum' | 'max' | 'min' | 'avg'
    } & AnySelection<GaugeName>)
  /** By how much counters grew a second. */
  | ({ readonly kind: 'rate'; readonly windowMs: number } & AnySelection<CounterName>)
  /** By how much they grew in all. */
  | ({ readonly kind: 'increase'; readonly windowMs: number } & AnySelection<CounterName>)
  | ({
      readonly kind: 'quantile'
      readonly quantile: number
      readonly windowMs: number
    } & AnySelection<HistogramName>)
  /** The mean of what was observed in the window. */
  | ({ readonly kind: 'mean'; readonly windowMs: number } & AnySelection<HistogramName>)
  /** How many observations a second, at most as great as a bucket's end: all of them where none is named. */
  | ({
      readonly kind: 'observed'
      readonly windowMs: number
      readonly atMost?: number | undefined
    } & AnySelection<HistogramName>)
  /** Seconds since (or, below 0, until) the moment that a gauge names. */
  | ({ readonly kind: 'age'; readonly combine: 'max' | 'min' } & AnySelection<GaugeName>)
  /**
   * Two answers, label set by label set, as are difference and sum; the second may be by fewer labels than the first, and
   * is then the same for several of its sets. Where `to` is 0 there is no answer.
   * @param orZero where `of` says nothing of a label set that `to` knows, such as of errors that never were: 0
   */
  | { readonly kind: 'ratio'; readonly of: Query; readonly to: Query; readonly orZero?: boolean | undefined }
  | { readonly kind: 'difference'; readonly of: Query; readonly less: Query }
  | { readonly kind: 'sum'; readonly of: Query; readonly and: Query }
  | { readonly kind: 'scale'; readonly of: Query; readonly by: number }

type AnySelection<Names extends MetricName> = { [Name in Names]: Selection<Name> }[Names]

/**
 * What makes an alert: a question whose answer is beyond a bound, which may itself be an answer. Of several, all for the
 * same labels, or for those that a later one has; the answer of the first is what the alert tells.
 */
export type Condition =
  | { readonly kind: 'above' | 'below'; readonly query: Query; readonly bound: number | Query }
  | { readonly kind: 'all'; readonly of: readonly [Condition, ...Condition[]] }
  /** Nobody exports such a series; the answer is 1. */
  | ({ readonly kind: 'absent' } & { [Name in GaugeName]: Pick<Selection<Name>, 'metric'> }[GaugeName])

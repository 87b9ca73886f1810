import { bucketLabel } from '../../core/metrics/bucket-label.ts'
import { growth } from './growth.ts'
import { type Bucket, histogramQuantile } from './histogram-quantile.ts'
import type { Condition, Query } from './query.ts'
import type { Window } from './sample-ring.ts'
import type { SampleSeries, SampleSource } from './samples.ts'
import { type AnySelection, labelsOf, labelsOfCondition, selects } from './selection.ts'

/** A number for one set of labels. */
export interface Answer {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

type Combine = 'sum' | 'max' | 'min' | 'avg'

/** What was read says so at that moment. Series that are not there give no answer, never 0. */
export function evaluate(query: Query, source: SampleSource, atMs: number): readonly Answer[] {
  const grown = (part: string, windowMs: number, extra?: Readonly<Record<string, string>>) => {
    const selection = narrowed(query as AnySelection, extra)
    const of = (series: SampleSeries) => growthOf(series, atMs, windowMs)
    return combined('sum', selection, source.series(`${selection.metric}${part}`), of)
  }
  switch (query.kind) {
    case 'gauge':
      return combined(query.combine, query, source.series(query.metric), (series) => series.latest(atMs))
    case 'over':
      return combined(query.combine, query, source.series(query.metric), (series) =>
        extremeOf(series.window(atMs - query.windowMs, atMs), query.extreme),
      )
    case 'rate':
      return scaled(grown('', query.windowMs), 1000 / query.windowMs)
    case 'increase':
      return grown('', query.windowMs)
    case 'quantile':
      return quantiles(query, source, atMs)
    case 'mean':
      return joined(grown('_sum', query.windowMs), grown('_count', query.windowMs), labelsOf(query), divided)
    case 'observed': {
      const { atMost, windowMs } = query
      const extra = atMost === undefined ? undefined : { le: bucketLabel(atMost) }
      return scaled(grown(atMost === undefined ? '_count' : '_bucket', windowMs, extra), 1000 / windowMs)
    }
    case 'age':
      return combined(query.combine, query, source.series(query.metric), (series) => {
        const at = series.latest(atMs)
        return at === undefined ? undefined : atMs / 1000 - at
      })
    default:
      return evaluateJoined(query, source, atMs)
  }
}

/** The labels for which a condition holds, with the answer of its first question. */
export function evaluateCondition(
  condition: Condition,
  source: SampleSource,
  atMs: number,
): readonly Answer[] {
  if (condition.kind === 'absent') {
    const present = [...source.series(condition.metric)].some((series) => series.latest(atMs) !== undefined)
    return present ? [] : [{ labels: {}, value: 1 }]
  }
  if (condition.kind === 'all') {
    const [first, ...others] = condition.of
    return others.reduce(
      (held, other) => {
        const labels = labelsOfCondition(other)
        const both = new Set(evaluateCondition(other, source, atMs).map((one) => keyOf(one.labels, labels)))
        return held.filter((one) => both.has(keyOf(one.labels, labels)))
      },
      evaluateCondition(first, source, atMs),
    )
  }
  const beyond = condition.kind === 'above' ? isAbove : isBelow
  const { query, bound } = condition
  const answers = evaluate(query, source, atMs)
  if (typeof bound === 'number') return answers.filter(({ value }) => beyond(value, bound))
  return joined(answers, evaluate(bound, source, atMs), labelsOf(bound), (value, limit) =>
    beyond(value, limit) ? value : undefined,
  )
}

function evaluateJoined(
  query: Extract<Query, { kind: 'ratio' | 'difference' | 'sum' | 'scale' }>,
  source: SampleSource,
  atMs: number,
): readonly Answer[] {
  const of = evaluate(query.of, source, atMs)
  switch (query.kind) {
    case 'scale':
      return scaled(of, query.by)
    case 'ratio': {
      const to = evaluate(query.to, source, atMs)
      const above = query.orZero ? [...of, ...scaled(without(to, of, labelsOf(query)), 0)] : of
      return joined(above, to, labelsOf(query.to), divided)
    }
    case 'difference':
      return joined(of, evaluate(query.less, source, atMs), labelsOf(query.less), (a, b) => a - b)
    case 'sum':
      return joined(of, evaluate(query.and, source, atMs), labelsOf(query.and), (a, b) => a + b)
  }
}

function quantiles(
  query: Extract<Query, { kind: 'quantile' }>,
  source: SampleSource,
  atMs: number,
): readonly Answer[] {
  const { metric, windowMs }: { metric: string; windowMs: number } = query
  const by = labelsOf(query)
  const selection: AnySelection = { ...(query as AnySelection), by: [...by, 'le'] }
  const buckets = combined('sum', selection, source.series(`${metric}_bucket`), (series) =>
    growthOf(series, atMs, windowMs),
  )
  const sets = new Map<string, { labels: Record<string, string>; buckets: Bucket[] }>()
  for (const { labels, value } of buckets) {
    const { le = '', ...rest } = labels
    const key = keyOf(rest, by)
    const set = sets.get(key) ?? { labels: rest, buckets: [] }
    set.buckets.push({ end: le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le), count: value })
    sets.set(key, set)
  }
  return [...sets.values()].flatMap((set) => {
    const value = histogramQuantile(query.quantile, set.buckets)
    return value === undefined ? [] : [{ labels: set.labels, value }]
  })
}

function growthOf(series: SampleSeries, atMs: number, windowMs: number): number | undefined {
  return growth(series.window(atMs - windowMs, atMs), atMs - windowMs, atMs)
}

function extremeOf({ values, from, to }: Window, extreme: Combine): number | undefined {
  const found = [...values.subarray(from, to + 1)].filter((value) => !Number.isNaN(value))
  return found.length === 0 ? undefined : put(extreme, found)
}

function narrowed(selection: AnySelection, extra: Readonly<Record<string, string>> = {}): AnySelection {
  return { ...selection, where: { ...selection.where, ...extra } }
}

/** Values of the selected series, put together by the labels that are wanted. */
function combined(
  how: Combine,
  selection: AnySelection,
  all: Iterable<SampleSeries>,
  reading: (series: SampleSeries) => number | undefined,
): readonly Answer[] {
  const by = selection.by ?? []
  const sets = new Map<string, { labels: Readonly<Record<string, string>>; values: number[] }>()
  for (const series of all) {
    if (!selects(selection, series.labels)) continue
    const value = reading(series)
    if (value === undefined) continue
    const key = keyOf(series.labels, by)
    const set = sets.get(key)
    if (set) set.values.push(value)
    else sets.set(key, { labels: only(series.labels, by), values: [value] })
  }
  return [...sets.values()].map(({ labels, values }) => ({ labels, value: put(how, values) }))
}

function put(how: Combine, values: readonly number[]): number {
  if (how === 'max') return values.reduce((a, b) => Math.max(a, b))
  if (how === 'min') return values.reduce((a, b) => Math.min(a, b))
  const sum = values.reduce((a, b) => a + b, 0)
  return how === 'sum' ? sum : sum / values.length
}

function scaled(answers: readonly Answer[], by: number): readonly Answer[] {
  return answers.map(({ labels, value }) => ({ labels, value: value * by }))
}

/** Each of the left with the right one that has the same labels, or the same of those that the right ones have. */
function joined(
  left: readonly Answer[],
  right: readonly Answer[],
  labels: readonly string[],
  put: (left: number, right: number) => number | undefined,
): readonly Answer[] {
  const partners = new Map(right.map((one) => [keyOf(one.labels, labels), one.value]))
  return left.flatMap((one) => {
    const partner = partners.get(keyOf(one.labels, labels))
    const value = partner === undefined ? undefined : put(one.value, partner)
    return value === undefined ? [] : [{ labels: one.labels, value }]
  })
}

function without(answers: readonly Answer[], others: readonly Answer[], labels: readonly string[]) {
  const known = new Set(others.map((one) => keyOf(one.labels, labels)))
  return answers.filter((one) => !known.has(keyOf(one.labels, labels)))
}

function divided(of: number, to: number): number | undefined {
  return to === 0 ? undefined : of / to
}

function isAbove(value: number, bound: number): boolean {
  return value > bound
}

function isBelow(value: number, bound: number): boolean {
  return value < bound
}

function keyOf(labels: Readonly<Record<string, string>>, by: readonly string[]): string {
  return by.map((label) => labels[label] ?? '').join('\n')
}

/** Prometheus knows no empty label. */
function only(labels: Readonly<Record<string, string>>, by: readonly string[]): Record<string, string> {
  return Object.fromEntries(by.flatMap((label) => (labels[label] ? [[label, labels[label]]] : [])))
}

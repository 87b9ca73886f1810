import type { Sample } from '../core/metrics/sample.ts'
import {
  type CounterName,
  type GaugeName,
  type HistogramName,
  type LabelsOf,
  METRICS,
  type MetricName,
  type Metrics,
} from '../core/metrics.ts'
import { Family } from './family.ts'
import type { Labels, Series } from './series.ts'
import { SeriesRoom } from './series-room.ts'
import type { TextFormat } from './text-format.ts'

const OVERFLOW: MetricName = 'helixflow_metric_overflow_total'
/** In all, beside one series of each metric that counts for those without room: under 10,000 whatever callers send. */
const PROCESS_SERIES_MAX = 9_000

/**
 * The metrics of this process. Each series is a few numbers in place, so that counting costs a request nothing that can
 * be seen; text is only made when somebody reads, and in pieces.
 */
export class MetricRegistry implements Metrics {
  private readonly families = new Map<MetricName, Family>()
  private readonly collectors = new Set<() => void>()

  /** @param now when an exemplar was seen */
  constructor(private readonly now: () => number = Date.now) {
    const room = new SeriesRoom(PROCESS_SERIES_MAX)
    const names = Object.keys(METRICS) as MetricName[]
    // Where there is no room, it is still told which metric has none.
    const ownRoom = new SeriesRoom(names.length)
    for (const name of names)
      this.families.set(name, new Family(name, METRICS[name], name === OVERFLOW ? ownRoom : room))
  }

  add<Name extends CounterName>(name: Name, labels: LabelsOf<Name>, by = 1): void {
    this.find(name, labels)?.add(by)
  }

  set<Name extends GaugeName>(name: Name, labels: LabelsOf<Name>, value: number): void {
    this.find(name, labels)?.set(value)
  }

  observe<Name extends HistogramName>(
    name: Name,
    labels: LabelsOf<Name>,
    value: number,
    traceId?: string,
  ): void {
    const series = this.find(name, labels)
    if (!series) return
    const bucket = series.observe(value)
    if (traceId !== undefined) series.exemplify(bucket, { traceId, value, atMs: this.now() })
  }

  drop<Name extends GaugeName | CounterName>(name: Name, labels: Partial<LabelsOf<Name>>): void {
    this.families.get(name)?.drop(labels as Labels)
  }

  beforeRead(collect: () => void): () => void {
    this.collectors.add(collect)
    return () => this.collectors.delete(collect)
  }

  /** Has everything set that is only looked at when somebody reads; other work may be done after each part of it. */
  *collect(): Generator<void> {
    for (const collect of this.collectors) yield collect()
    let lines = 0
    for (const family of this.families.values()) lines += family.lines
    yield this.set('helixflow_metric_series', {}, lines)
  }

  /** All series as text, in pieces between which other work may be done. `collect` is to be run through before. */
  *text(format: TextFormat): Generator<string> {
    for (const family of this.families.values()) yield* family.text(format)
    if (format === 'openmetrics') yield '# EOF\n'
  }

  /** The same as numbers, for whoever looks at them in this process. */
  *samples(): Generator<Sample> {
    for (const family of this.families.values()) yield* family.samples()
  }

  private find(name: MetricName, labels: Labels): Series | undefined {
    const family = this.families.get(name)
    return family?.series(labels) ?? this.overflowed(name, family)
  }

  private overflowed(name: MetricName, family: Family | undefined): Series | undefined {
    if (name !== OVERFLOW) this.add('helixflow_metric_overflow_total', { metric: name })
    return family?.overflow()
  }
}

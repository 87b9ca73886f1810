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

/**
 * The metrics of this process. Each series is a few numbers in place, so that counting costs a request nothing that can
 * be seen; text is only made when somebody reads, and in pieces.
 */
export class MetricRegistry implements Metrics {
  private readonly families = new Map<MetricName, Family>()
  private readonly collectors = new Set<() => void>()

  constructor() {
    for (const name of Object.keys(METRICS) as MetricName[])
      this.families.set(name, new Family(name, METRICS[name]))
  }

  add<Name extends CounterName>(name: Name, labels: LabelsOf<Name>, by = 1): void {
    this.families.get(name)?.series(labels).add(by)
  }

  set<Name extends GaugeName>(name: Name, labels: LabelsOf<Name>, value: number): void {
    this.families.get(name)?.series(labels).set(value)
  }

  observe<Name extends HistogramName>(
    name: Name,
    labels: LabelsOf<Name>,
    value: number,
    traceId?: string,
  ): void {
    this.families.get(name)?.series(labels).observe(value, traceId)
  }

  drop<Name extends GaugeName>(name: Name, labels: Partial<LabelsOf<Name>>): void {
    this.families.get(name)?.drop(labels as Readonly<Record<string, string>>)
  }

  beforeRead(collect: () => void): () => void {
    this.collectors.add(collect)
    return () => this.collectors.delete(collect)
  }

  /** Prometheus' text format, in pieces between which other work may be done. */
  *read(): Generator<string> {
    for (const collect of this.collectors) collect()
    for (const family of this.families.values()) yield* family.text()
  }
}

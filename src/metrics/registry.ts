import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { METRICS, type MetricDeclaration, type MetricName, type Metrics } from '../core/metrics.ts'

type Labels = Readonly<Record<string, string>>

/** The metrics of this process, as Prometheus reads them. */
export class MetricRegistry implements Metrics {
  readonly contentType: string
  private readonly registry = new Registry()
  private readonly counters = new Map<MetricName, Counter>()
  private readonly gauges = new Map<MetricName, Gauge>()
  private readonly histograms = new Map<MetricName, Histogram>()

  constructor() {
    this.contentType = this.registry.contentType
    collectDefaultMetrics({ register: this.registry })
    for (const [name, declaration] of Object.entries(METRICS)) this.declare(name as MetricName, declaration)
  }

  add(name: MetricName, labels: Labels, by = 1): void {
    this.counters.get(name)?.inc(labels, by)
  }

  set(name: MetricName, labels: Labels, value: number): void {
    this.gauges.get(name)?.set(labels, value)
  }

  observe(name: MetricName, labels: Labels, value: number): void {
    this.histograms.get(name)?.observe(labels, value)
  }

  /** Prometheus' text format. */
  render(): Promise<string> {
    return this.registry.metrics()
  }

  private declare(name: MetricName, { type, help, labels, buckets }: MetricDeclaration): void {
    const common = { name, help, labelNames: [...labels], registers: [this.registry] }
    if (type === 'counter') this.counters.set(name, new Counter(common))
    else if (type === 'gauge') this.gauges.set(name, new Gauge(common))
    else this.histograms.set(name, new Histogram({ ...common, ...(buckets && { buckets: [...buckets] }) }))
  }
}

import type {
  CounterName,
  GaugeName,
  HistogramName,
  LabelsOf,
  MetricName,
  Metrics,
} from '../../src/core/metrics.ts'

type Labels = Readonly<Record<string, string>>

/** Metrics as numbers that a test can look at: of a histogram how many values it got. */
export class MetricValues implements Metrics {
  private readonly series = new Map<string, { name: MetricName; labels: Labels; value: number }>()
  private readonly collectors = new Set<() => void>()

  add<Name extends CounterName>(name: Name, labels: LabelsOf<Name>, by = 1): void {
    this.put(name, labels, (before) => before + by)
  }

  set<Name extends GaugeName>(name: Name, labels: LabelsOf<Name>, value: number): void {
    this.put(name, labels, () => value)
  }

  observe<Name extends HistogramName>(name: Name, labels: LabelsOf<Name>, _value: number): void {
    this.put(name, labels, (before) => before + 1)
  }

  drop<Name extends CounterName | GaugeName>(name: Name, labels: Partial<LabelsOf<Name>>): void {
    for (const [key, series] of this.series)
      if (series.name === name && has(series.labels, labels as Labels)) this.series.delete(key)
  }

  beforeRead(collect: () => void): () => void {
    this.collectors.add(collect)
    return () => this.collectors.delete(collect)
  }

  /** As a scrape would see it; undefined where there is no such series. */
  value(name: MetricName, labels: Labels = {}): number | undefined {
    for (const collect of this.collectors) collect()
    return this.series.get(keyOf(name, labels))?.value
  }

  /** The values that a label has. */
  values(name: MetricName, label: string): readonly string[] {
    for (const collect of this.collectors) collect()
    return [...this.series.values()].flatMap((one) => (one.name === name ? [one.labels[label] ?? ''] : []))
  }

  private put(name: MetricName, labels: Labels, change: (before: number) => number): void {
    const key = keyOf(name, labels)
    this.series.set(key, { name, labels, value: change(this.series.get(key)?.value ?? 0) })
  }
}

function keyOf(name: string, labels: Labels): string {
  return JSON.stringify([name, Object.entries(labels).sort()])
}

function has(labels: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([label, value]) => labels[label] === value)
}

import type { MetricDeclaration } from '../core/metrics/declaration.ts'
import { Series } from './series.ts'

type Labels = Readonly<Record<string, string>>

/** Lines in one piece of text. */
const PIECE_SERIES = 200

/** One metric with all of its series. */
export class Family {
  private readonly all = new Map<string, Series>()

  constructor(
    private readonly name: string,
    private readonly declaration: MetricDeclaration,
  ) {
    if (declaration.labels.length === 0) this.series({})
  }

  /** The series with these labels, which begins to be when it is first asked for. */
  series(labels: Labels): Series {
    const key = this.keyOf(labels)
    let series = this.all.get(key)
    if (!series) {
      const values = this.declaration.labels.map((label) => [label, labels[label] ?? ''] as const)
      series = new Series(this.name, values, this.declaration.buckets)
      this.all.set(key, series)
    }
    return series
  }

  drop(labels: Labels): void {
    for (const [key, series] of this.all) if (series.has(labels)) this.all.delete(key)
  }

  *text(): Generator<string> {
    const { type, help } = this.declaration
    let piece = `# HELP ${this.name} ${help}\n# TYPE ${this.name} ${type}\n`
    let count = 0
    for (const series of this.all.values()) {
      piece += series.text()
      if (++count % PIECE_SERIES > 0) continue
      yield piece
      piece = ''
    }
    yield piece
  }

  private keyOf(labels: Labels): string {
    const [first, second, third] = this.declaration.labels
    if (first === undefined) return ''
    if (second === undefined) return labels[first] ?? ''
    const key = `${labels[first]}\0${labels[second]}`
    return third === undefined ? key : `${key}\0${labels[third]}`
  }
}

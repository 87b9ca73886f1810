import { bucketLabel } from '../core/metrics/bucket-label.ts'
import type { Sample } from '../core/metrics/sample.ts'
import { escapedText, numberText, type TextFormat } from './text-format.ts'

export type Labels = Readonly<Record<string, string>>

/** A request that shows what a bucket holds. */
interface Exemplar {
  readonly traceId: string
  readonly value: number
  readonly atMs: number
}

/** Numbers under one name and one set of labels: a counter or gauge is one, a histogram one per bucket and their sum. */
export class Series {
  private readonly counts: Float64Array | undefined
  private readonly labelText: string
  private exemplars: (Exemplar | undefined)[] | undefined
  private sum = 0

  constructor(
    private readonly name: string,
    readonly labels: Labels,
    private readonly buckets: readonly number[] | undefined,
  ) {
    this.counts = buckets && new Float64Array(buckets.length + 1)
    this.labelText = Object.entries(labels)
      .map(([label, value]) => `${label}="${escapedText(value)}"`)
      .join(',')
  }

  add(by: number): void {
    this.sum += by
  }

  set(value: number): void {
    this.sum = value
  }

  observe(value: number): number {
    const { buckets, counts } = this
    if (!buckets || !counts) return 0
    let index = 0
    while (index < buckets.length && value > (buckets[index] ?? 0)) index++
    counts[index] = (counts[index] ?? 0) + 1
    this.sum += value
    return index
  }

  /** The latest in a bucket stands for it. @param index of the bucket, as `observe` returned it */
  exemplify(index: number, exemplar: Exemplar): void {
    this.exemplars ??= new Array(this.counts?.length ?? 0).fill(undefined)
    this.exemplars[index] = exemplar
  }

  has(labels: Partial<Labels>): boolean {
    return Object.entries(labels).every(
      ([label, value]) => value === undefined || this.labels[label] === value,
    )
  }

  text(format: TextFormat): string {
    const { name, labelText, buckets, counts, sum } = this
    const braces = labelText && `{${labelText}}`
    if (!buckets || !counts) return `${name}${braces} ${numberText(sum)}\n`
    let text = ''
    let total = 0
    const before = labelText && `${labelText},`
    for (let index = 0; index <= buckets.length; index++) {
      total += counts[index] ?? 0
      const exemplar = format === 'openmetrics' ? this.exemplarText(index) : ''
      text += `${name}_bucket{${before}le="${endOf(buckets, index)}"} ${total}${exemplar}\n`
    }
    return `${text}${name}_sum${braces} ${numberText(sum)}\n${name}_count${braces} ${total}\n`
  }

  *samples(): Generator<Sample> {
    const { name, labels, buckets, counts, sum } = this
    if (!buckets || !counts) {
      yield { name, labels, value: sum }
      return
    }
    let total = 0
    for (let index = 0; index <= buckets.length; index++) {
      total += counts[index] ?? 0
      yield { name: `${name}_bucket`, labels: { ...labels, le: endOf(buckets, index) }, value: total }
    }
    yield { name: `${name}_sum`, labels, value: sum }
    yield { name: `${name}_count`, labels, value: total }
  }

  private exemplarText(index: number): string {
    const exemplar = this.exemplars?.[index]
    if (!exemplar) return ''
    const { traceId, value, atMs } = exemplar
    return ` # {trace_id="${escapedText(traceId)}"} ${numberText(value)} ${(atMs / 1_000).toFixed(3)}`
  }
}

function endOf(buckets: readonly number[], index: number): string {
  return bucketLabel(buckets[index] ?? Number.POSITIVE_INFINITY)
}

/** Numbers under one name and one set of labels: a counter or gauge is one, a histogram one per bucket and their sum. */
export class Series {
  private readonly counts: Float64Array | undefined
  private readonly labelText: string
  private sum = 0

  constructor(
    private readonly name: string,
    private readonly labels: readonly (readonly [string, string])[],
    private readonly buckets: readonly number[] | undefined,
  ) {
    this.counts = buckets && new Float64Array(buckets.length + 1)
    this.labelText = labels.map(([label, value]) => `${label}="${escaped(value)}"`).join(',')
  }

  add(by: number): void {
    this.sum += by
  }

  set(value: number): void {
    this.sum = value
  }

  observe(value: number, _traceId: string | undefined): void {
    const { buckets, counts } = this
    if (!buckets || !counts) return
    let index = 0
    while (index < buckets.length && value > (buckets[index] ?? 0)) index++
    counts[index] = (counts[index] ?? 0) + 1
    this.sum += value
  }

  has(labels: Readonly<Record<string, string>>): boolean {
    return this.labels.every(([label, value]) => labels[label] === undefined || labels[label] === value)
  }

  text(): string {
    const { name, labelText, buckets, counts, sum } = this
    const braces = labelText && `{${labelText}}`
    if (!buckets || !counts) return `${name}${braces} ${sum}\n`
    let text = ''
    let total = 0
    const before = labelText && `${labelText},`
    for (let index = 0; index <= buckets.length; index++) {
      total += counts[index] ?? 0
      text += `${name}_bucket{${before}le="${buckets[index] ?? '+Inf'}"} ${total}\n`
    }
    return `${text}${name}_sum${braces} ${sum}\n${name}_count${braces} ${total}\n`
  }
}

function escaped(value: string): string {
  return /[\\\n"]/.test(value)
    ? value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')
    : value
}

import { bucketLabel } from '../../core/metrics/bucket-label.ts'
import type { Sample } from '../../core/metrics/sample.ts'
import type { Query } from './query.ts'
import { parts } from './selection.ts'

/** What one name is kept for. */
export interface SampleNeed {
  /** How far back somebody asks; 0 where only the newest value counts. */
  readonly windowMs: number
  /** Only grows: its readings of long ago may be further apart. */
  readonly counter: boolean
}

/** Of all that processes export, what somebody asks for, and how far back. The rest is not kept. */
export class SampleNeeds {
  private readonly needs = new Map<string, SampleNeed>()
  private readonly named = new Set<string>()

  constructor(queries: Iterable<Query>) {
    for (const query of queries) {
      for (const part of parts(query)) {
        const windowMs = 'windowMs' in part ? part.windowMs : 0
        const counter = !['gauge', 'age', 'over'].includes(part.kind)
        for (const name of readBy(part)) this.add(name, { windowMs, counter })
      }
    }
  }

  of({ name, labels }: Sample): SampleNeed | undefined {
    // Most samples are of no interest, and that is to cost nothing.
    if (!this.named.has(name)) return undefined
    const whole = this.needs.get(name)
    const le = labels['le']
    const bucket = le === undefined ? undefined : this.needs.get(`${name} ${le}`)
    if (!whole || !bucket) return whole ?? bucket
    return whole.windowMs > bucket.windowMs ? whole : bucket
  }

  private add(name: string, need: SampleNeed): void {
    this.named.add(name.split(' ')[0] ?? name)
    if ((this.needs.get(name)?.windowMs ?? -1) < need.windowMs) this.needs.set(name, need)
  }
}

/** Names of samples that a question reads, a single bucket with its end after a space. */
function readBy(query: Query): readonly string[] {
  switch (query.kind) {
    case 'gauge':
    case 'age':
    case 'over':
    case 'rate':
    case 'increase':
      return [query.metric]
    case 'quantile':
      return [`${query.metric}_bucket`]
    case 'mean':
      return [`${query.metric}_sum`, `${query.metric}_count`]
    case 'observed':
      return query.atMost === undefined
        ? [`${query.metric}_count`]
        : [`${query.metric}_bucket ${bucketLabel(query.atMost)}`]
    default:
      return []
  }
}

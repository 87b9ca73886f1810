import type { Neighbour, VectorIndex } from './vector-index.ts'

export interface ExactIndexOptions {
  /** Of one partition; more replace the oldest. */
  readonly entriesMax: number
  /** Of all vectors; more push out the partition that was asked for longest ago. */
  readonly bytesMax: number
}

interface Entry {
  readonly key: string
  /** Of length 1, so that a product is the cosine. */
  readonly direction: Float32Array
}

/**
 * Compares with every vector of the partition. A thousand of 576 numbers take well under a millisecond, which is nothing
 * beside the making of the embedding; no approximation, nothing to tune.
 */
export class ExactIndex implements VectorIndex {
  /** The one that was asked for longest ago comes first. */
  private readonly partitions = new Map<string, Map<string, Entry>>()
  private heldBytes = 0

  constructor(private readonly options: ExactIndexOptions) {}

  get bytes(): number {
    return this.heldBytes
  }

  nearest(partition: string, vector: Float32Array, threshold: number): Neighbour | undefined {
    const entries = this.partitions.get(partition)
    const wanted = directionOf(vector)
    if (!entries || !wanted) return undefined
    this.partitions.delete(partition)
    this.partitions.set(partition, entries)
    let best: Neighbour | undefined
    for (const { key, direction } of entries.values()) {
      const similarity = product(direction, wanted)
      if (similarity >= threshold && similarity > (best?.similarity ?? -2)) best = { key, similarity }
    }
    return best
  }

  add(partition: string, key: string, vector: Float32Array): void {
    const direction = directionOf(vector)
    if (!direction) return
    const entries = this.partitions.get(partition) ?? new Map<string, Entry>()
    this.partitions.delete(partition)
    this.partitions.set(partition, entries)
    this.drop(entries, key)
    entries.set(key, { key, direction })
    this.heldBytes += direction.byteLength
    for (const oldest of entries.keys()) {
      if (entries.size <= this.options.entriesMax) break
      this.drop(entries, oldest)
    }
    this.makeRoom()
  }

  remove(partition: string, key: string): void {
    const entries = this.partitions.get(partition)
    if (!entries) return
    this.drop(entries, key)
    if (entries.size === 0) this.partitions.delete(partition)
  }

  private drop(entries: Map<string, Entry>, key: string): void {
    this.heldBytes -= entries.get(key)?.direction.byteLength ?? 0
    entries.delete(key)
  }

  private makeRoom(): void {
    for (const [name, entries] of this.partitions) {
      if (this.heldBytes <= this.options.bytesMax) return
      for (const key of [...entries.keys()]) this.drop(entries, key)
      this.partitions.delete(name)
    }
  }
}

/** Undefined for what has no direction: nothing but zeros, or no numbers. */
function directionOf(vector: Float32Array): Float32Array | undefined {
  const length = Math.sqrt(product(vector, vector))
  return Number.isFinite(length) && length > 0 ? vector.map((one) => one / length) : undefined
}

function product(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.NaN
  let sum = 0
  for (let at = 0; at < a.length; at++) sum += (a[at] ?? 0) * (b[at] ?? 0)
  return sum
}

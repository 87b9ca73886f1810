import type { Clock } from '../../core/clock.ts'
import { directionOf, product } from './direction.ts'
import type { Located, Nearness, Neighbour, VectorIndex, VectorPlace } from './vector-index.ts'

export interface ExactIndexOptions {
  /** Of one partition; more replace the oldest. */
  readonly entriesMax: number
  /** Of all vectors; more push out the partition that was asked for longest ago. */
  readonly bytesMax: number
  readonly clock: Clock
}

interface Entry {
  readonly direction: Float32Array
  readonly untilMs: number
}

/**
 * In memory. Compares with every vector of the partition. A thousand of 576 numbers take well under a millisecond, which
 * is nothing beside the making of the embedding; no approximation, nothing to tune.
 */
export class ExactIndex implements VectorIndex {
  /** The one that was asked for longest ago comes first. */
  private readonly partitions = new Map<string, Map<string, Entry>>()
  private heldBytes = 0

  constructor(private readonly options: ExactIndexOptions) {}

  get bytes(): number {
    return this.heldBytes
  }

  async nearest(
    place: VectorPlace,
    vector: Float32Array,
    { threshold, limit }: Nearness,
  ): Promise<readonly Neighbour[]> {
    const name = nameOf(place)
    const entries = this.partitions.get(name)
    const wanted = directionOf(vector)
    if (!entries || !wanted) return []
    this.partitions.delete(name)
    this.partitions.set(name, entries)
    const nowMs = this.options.clock.now()
    const near: Neighbour[] = []
    for (const [key, { direction, untilMs }] of entries) {
      const similarity = product(direction, wanted)
      if (similarity >= threshold && untilMs > nowMs) near.push({ key, similarity })
    }
    return near.sort((one, other) => other.similarity - one.similarity).slice(0, limit)
  }

  async add(place: VectorPlace, { key, vector, keepMs }: Located): Promise<void> {
    const direction = directionOf(vector)
    if (!direction) return
    const name = nameOf(place)
    const entries = this.partitions.get(name) ?? new Map<string, Entry>()
    this.partitions.delete(name)
    this.partitions.set(name, entries)
    this.drop(entries, key)
    entries.set(key, { direction, untilMs: this.options.clock.now() + keepMs })
    this.heldBytes += direction.byteLength
    for (const oldest of entries.keys()) {
      if (entries.size <= this.options.entriesMax) break
      this.drop(entries, oldest)
    }
    this.makeRoom()
  }

  async remove(place: VectorPlace, keys: readonly string[]): Promise<void> {
    const name = nameOf(place)
    const entries = this.partitions.get(name)
    if (!entries) return
    for (const key of keys) this.drop(entries, key)
    if (entries.size === 0) this.partitions.delete(name)
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

function nameOf({ tenant, partition }: VectorPlace): string {
  return JSON.stringify([tenant, partition])
}

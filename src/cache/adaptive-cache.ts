import { HelixError } from '../core/errors.ts'
import { FrequencySketch } from './frequency-sketch.ts'
import { keyHash } from './key-hash.ts'
import { PolicyDuel } from './policy-duel.ts'
import type { RecencyList } from './recency-list.ts'
import { type Ordered, type Policy, WindowTinyLfu } from './window-tiny-lfu.ts'

/**
 * What an entry takes beside its value: links, counters, its place in the map, and a key of 64 characters. Measured on
 * Node 20 (64 bits), where it is 270 bytes, and rounded up. The shadows, half a megabyte at most, are not in it.
 */
export const ENTRY_OVERHEAD_BYTES = 288

/** An entry larger than this share of the whole is not kept: it would cost more than a sixteenth of what is known. */
export const ENTRY_SHARE_MAX = 1 / 16

/**
 * Begins as the policy that suffers less by being the wrong one: LRU loses nothing until the cache is full, and by then
 * the duel has been decided, but frequency keeps what it has while it is not sure.
 */
const FIRST_POLICY: Policy = 'frequency'

export interface AdaptiveCacheOptions<Value> {
  /** All entries with their overhead never take more. */
  readonly bytesMax: number
  /** Told of each entry that had to make room, and of nothing else. It must not call the cache. */
  readonly onEvict?: (key: string, value: Value) => void
}

/**
 * A map within a bound of bytes that keeps what will probably be asked for again. No policy is best for everything: when
 * conversations come back for all that they said before, recency wins, and where some keys are popular, frequency does,
 * each by ten points of hit ratio. So both are tried on a sample of the traffic and the better one is lived by. Every
 * operation takes constant time, on average over many.
 */
export class AdaptiveCache<Value> {
  private readonly entries = new Map<string, CacheEntry<Value>>()
  private readonly sketch = new FrequencySketch()
  private readonly order: WindowTinyLfu<CacheEntry<Value>>
  private readonly duel: PolicyDuel

  constructor(private readonly options: AdaptiveCacheOptions<Value>) {
    const { bytesMax, onEvict } = options
    this.duel = new PolicyDuel(bytesMax, this.sketch, FIRST_POLICY)
    this.order = new WindowTinyLfu({
      bytesMax,
      policy: FIRST_POLICY,
      sketch: this.sketch,
      evicted: (entry) => {
        this.entries.delete(entry.key)
        onEvict?.(entry.key, entry.value)
      },
    })
  }

  /** How many entries there are. */
  get size(): number {
    return this.entries.size
  }

  /** What all entries take, with their overhead. */
  get bytes(): number {
    return this.order.bytes
  }

  /** By what it evicts at present. */
  get policy(): Policy {
    return this.order.policy
  }

  /** The value, which counts as a use of it. */
  get(key: string): Value | undefined {
    const entry = this.entries.get(key)
    if (!entry) return undefined
    this.sketch.add(entry.hash)
    this.order.touch(entry)
    this.judge(entry)
    return entry.value
  }

  /** Whether it is cached, which is no use of it. */
  has(key: string): boolean {
    return this.entries.has(key)
  }

  /**
   * Keeps a value of so many bytes instead of what was kept for the key. Returns whether it is cached now: it is not if
   * it is too large, or if the cache is full of what is asked for more often.
   */
  set(key: string, value: Value, sizeBytes: number): boolean {
    if (!(sizeBytes >= 0)) throw new HelixError('internal_error', `A size of ${sizeBytes} bytes`)
    const bytes = sizeBytes + ENTRY_OVERHEAD_BYTES
    if (bytes > this.options.bytesMax * ENTRY_SHARE_MAX) {
      this.delete(key)
      return false
    }
    let entry = this.entries.get(key)
    if (entry) {
      entry.value = value
      this.sketch.add(entry.hash)
      this.order.touch(entry)
      this.order.resize(entry, bytes)
    } else {
      entry = new CacheEntry(key, keyHash(key), value, bytes)
      this.entries.set(key, entry)
      this.sketch.reserve(this.entries.size)
      this.sketch.add(entry.hash)
      this.order.insert(entry)
    }
    this.judge(entry)
    return entry.list !== undefined
  }

  /** Forgets a key; returns whether it was there. */
  delete(key: string): boolean {
    const entry = this.entries.get(key)
    if (!entry) return false
    this.entries.delete(key)
    this.order.remove(entry)
    this.duel.forget(entry.hash)
    return true
  }

  /** Forgets all entries; what was learned about keys and policies stays. */
  clear(): void {
    for (const key of this.entries.keys()) this.delete(key)
  }

  private judge(entry: CacheEntry<Value>): void {
    this.duel.observe(entry.hash, entry.bytes)
    this.order.policy = this.duel.leader
  }
}

class CacheEntry<Value> implements Ordered<CacheEntry<Value>> {
  list: RecencyList<CacheEntry<Value>> | undefined = undefined
  newer: CacheEntry<Value> | undefined = undefined
  older: CacheEntry<Value> | undefined = undefined

  constructor(
    readonly key: string,
    readonly hash: number,
    public value: Value,
    public bytes: number,
  ) {}
}

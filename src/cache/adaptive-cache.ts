import { HelixError } from '../core/errors.ts'
import { FrequencySketch } from './frequency-sketch.ts'
import { keyHash } from './key-hash.ts'
import { PolicyDuel } from './policy-duel.ts'
import { type Policy, WindowTinyLfu } from './window-tiny-lfu.ts'

/**
 * What an entry takes beside its value: columns, counters, its place in the map, and a key of 64 characters (what a longer
 * one takes belongs to the size that is given). On Node 20 it is 90 to 240 bytes, the most when a table has just been
 * doubled. The shadows, half a megabyte at most, are not in it.
 */
export const ENTRY_OVERHEAD_BYTES = 256

/** An entry larger than this share of the whole is not kept: it would cost more than a sixteenth of what is known. */
export const ENTRY_SHARE_MAX = 1 / 16

/** Where it is the wrong one it loses less, until the duel has been decided, than recency loses where that is wrong. */
const FIRST_POLICY: Policy = 'frequency'

export interface AdaptiveCacheOptions<Value> {
  /** All entries with their overhead never take more. */
  readonly bytesMax: number
  /** Told of each entry that had to make room, even if it has just been set, and of nothing else. It must not call the cache. */
  readonly onEvict?: (key: string, value: Value) => void
}

/**
 * A map within a bound of bytes that keeps what will probably be asked for again. No policy is best for everything: when
 * conversations come back for all that they said before, recency wins, and where some keys are popular, frequency does,
 * each by ten points of hit ratio. So both are tried on a sample of the traffic and the better one is lived by. Every
 * operation takes constant time, on average over many.
 */
export class AdaptiveCache<Value extends NonNullable<unknown>> {
  private readonly slots = new Map<string, number>()
  /** By slot, as is everything that is known of an entry. */
  private readonly keys: (string | undefined)[] = []
  private readonly values: (Value | undefined)[] = []
  private readonly sketch = new FrequencySketch()
  private readonly order: WindowTinyLfu
  private readonly duel: PolicyDuel

  constructor(private readonly options: AdaptiveCacheOptions<Value>) {
    const { bytesMax } = options
    const { sketch } = this
    this.duel = new PolicyDuel(bytesMax, sketch, FIRST_POLICY)
    const evicted = (slot: number) => this.evicted(slot)
    this.order = new WindowTinyLfu({ bytesMax, policy: FIRST_POLICY, sketch, evicted })
  }

  /** How many entries there are. */
  get size(): number {
    return this.slots.size
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
    const slot = this.slots.get(key)
    if (slot === undefined) return undefined
    const hash = this.order.hashOf(slot)
    this.sketch.add(hash)
    this.order.touch(slot)
    this.follow(hash, this.order.bytesOf(slot))
    return this.values[slot]
  }

  /** Whether it is cached, which is no use of it. */
  has(key: string): boolean {
    return this.slots.has(key)
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
    const known = this.slots.get(key)
    const slot = known ?? this.insert(key, bytes)
    this.values[slot] = value
    const hash = this.order.hashOf(slot)
    this.sketch.add(hash)
    if (known !== undefined) {
      this.order.touch(slot)
      this.order.resize(slot, bytes)
    }
    this.order.makeRoom()
    this.follow(hash, bytes)
    return this.order.has(slot)
  }

  /** Forgets a key; returns whether it was there. */
  delete(key: string): boolean {
    const slot = this.slots.get(key)
    if (slot === undefined) return false
    this.duel.forget(this.order.hashOf(slot))
    this.drop(key, slot)
    this.order.remove(slot)
    return true
  }

  /** Forgets all entries; what was learned about keys and policies stays. */
  clear(): void {
    for (const key of this.slots.keys()) this.delete(key)
  }

  private insert(key: string, bytes: number): number {
    const slot = this.order.insert(keyHash(key), bytes)
    this.slots.set(key, slot)
    this.keys[slot] = key
    this.sketch.reserve(this.slots.size)
    return slot
  }

  /** What the duel learns of an access decides by what the next eviction goes. */
  private follow(hash: number, bytes: number): void {
    this.duel.observe(hash, bytes)
    this.order.policy = this.duel.leader
  }

  private evicted(slot: number): void {
    const key = this.keys[slot]
    const value = this.values[slot]
    if (key === undefined || value === undefined) return
    this.drop(key, slot)
    this.options.onEvict?.(key, value)
  }

  private drop(key: string, slot: number): void {
    this.slots.delete(key)
    this.keys[slot] = undefined
    this.values[slot] = undefined
  }
}

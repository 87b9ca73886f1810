import type { FrequencySketch } from './frequency-sketch.ts'
import { type Policy, WindowTinyLfu } from './window-tiny-lfu.ts'

/** Neither shadow holds more keys. When one would, both go on with every second of their keys, in half the room. */
const KEYS_MAX = 1_536
/** After so many sampled accesses, what was seen counts for about a third. */
const MEMORY_ACCESSES = 2_048
/** By so many hits the other policy must lead; less is chance. */
const LEAD = 6

/**
 * Which policy would have more hits: two small shadows of the cache, one under each policy, hold keys and sizes of a
 * sample of the traffic, chosen by hash. A sample of the keys in a cache made smaller by as much has nearly the hit ratio
 * of the whole (Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST 2015, with its fixed size; and
 * "Cache Modeling and Optimization using Miniature Simulations", USENIX ATC 2017).
 */
export class PolicyDuel {
  leader: Policy
  private readonly shadows: Readonly<Record<Policy, Shadow>>
  /** One key in so many is looked at; a power of two. */
  private sampling = 1
  /** Hits of `frequency` less those of `recency`, the older the less. */
  private score = 0

  constructor(
    private readonly bytesMax: number,
    sketch: FrequencySketch,
    first: Policy,
  ) {
    this.leader = first
    const shadow = (policy: Policy) => new Shadow(policy, bytesMax, sketch)
    this.shadows = { recency: shadow('recency'), frequency: shadow('frequency') }
  }

  /** A key was asked for; `bytes` is what it takes when it is cached. */
  observe(hash: number, bytes: number): void {
    if (!this.isSampled(hash)) return
    const { recency, frequency } = this.shadows
    const lead = Number(frequency.hits(hash, bytes)) - Number(recency.hits(hash, bytes))
    this.score += lead - this.score / MEMORY_ACCESSES
    if (this.score > LEAD) this.leader = 'frequency'
    else if (this.score < -LEAD) this.leader = 'recency'
    if (Math.max(recency.size, frequency.size) > KEYS_MAX) this.thinOut()
  }

  /** It cannot be asked for any more, whatever the policy. */
  forget(hash: number): void {
    if (!this.isSampled(hash)) return
    this.shadows.recency.forget(hash)
    this.shadows.frequency.forget(hash)
  }

  private isSampled(hash: number): boolean {
    return (hash & (this.sampling - 1)) === 0
  }

  private thinOut(): void {
    this.sampling *= 2
    for (const shadow of [this.shadows.recency, this.shadows.frequency]) {
      shadow.keep((hash) => this.isSampled(hash), this.bytesMax / this.sampling)
    }
  }
}

/** A cache without values. Two keys with one hash are one to it, which is too rare to matter. */
class Shadow {
  private readonly slots = new Map<number, number>()
  private readonly order: WindowTinyLfu

  constructor(
    policy: Policy,
    private bytesMax: number,
    sketch: FrequencySketch,
  ) {
    const evicted = (slot: number) => void this.slots.delete(this.order.hashOf(slot))
    this.order = new WindowTinyLfu({ bytesMax, policy, sketch, evicted })
  }

  get size(): number {
    return this.slots.size
  }

  /** Whether it was there; now it is, if the policy wants it. */
  hits(hash: number, bytes: number): boolean {
    const slot = this.slots.get(hash)
    if (slot === undefined) {
      if (bytes > this.bytesMax) return false
      this.slots.set(hash, this.order.insert(hash, bytes))
      this.order.makeRoom()
      return false
    }
    this.order.touch(slot)
    if (bytes !== this.order.bytesOf(slot)) {
      this.order.resize(slot, bytes)
      this.order.makeRoom()
    }
    return true
  }

  forget(hash: number): void {
    const slot = this.slots.get(hash)
    if (slot === undefined) return
    this.slots.delete(hash)
    this.order.remove(slot)
  }

  keep(wanted: (hash: number) => boolean, bytesMax: number): void {
    for (const hash of this.slots.keys()) if (!wanted(hash)) this.forget(hash)
    this.bytesMax = bytesMax
    this.order.shrinkTo(bytesMax)
  }
}

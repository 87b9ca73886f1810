import { EntryRings, FREE } from './entry-rings.ts'
import type { FrequencySketch } from './frequency-sketch.ts'

/** `recency` is LRU. `frequency` is W-TinyLFU: newcomers must have been asked for more often than whom they displace. */
export type Policy = 'recency' | 'frequency'

export interface WindowTinyLfuOptions {
  readonly bytesMax: number
  readonly policy: Policy
  readonly sketch: FrequencySketch
  /** Called once for each entry that has to go, just before its slot is free. */
  readonly evicted: (slot: number) => void
}

const [WINDOW, PROBATION, PROTECTED] = [1, 2, 3]
const RINGS = 4
/** Caffeine's proportions: a window of a hundredth for newcomers, four fifths of the rest for those asked for again. */
const WINDOW_SHARE = 0.01
const PROTECTED_SHARE = 0.8
/** After a change to `frequency` almost everything must leave the window; a little at a time, so that no call is slow. */
const MOVES_MAX = 16

/**
 * Who goes when there is no room: W-TinyLFU (Einziger et al., "TinyLFU: A Highly Efficient Cache Admission Policy", ACM
 * Transactions on Storage 2017) whose window is either a hundredth or the whole, which makes it plain LRU. The policy may
 * be changed at any time; entries stay where they are and follow one by one. A newcomer that displaces several entries
 * must be more popular than all of them together (aggregated victims: Einziger et al., "Lightweight Robust Size Aware
 * Cache Management", ACM Transactions on Storage 2022).
 */
export class WindowTinyLfu {
  policy: Policy
  bytes = 0
  private bytesMax: number
  private readonly rings = new EntryRings(RINGS)
  private readonly sketch: FrequencySketch
  private readonly evicted: (slot: number) => void

  constructor({ bytesMax, policy, sketch, evicted }: WindowTinyLfuOptions) {
    this.policy = policy
    this.bytesMax = bytesMax
    this.sketch = sketch
    this.evicted = evicted
  }

  /** Returns its slot. What is too much goes with `makeRoom`, perhaps the newcomer itself. */
  insert(hash: number, bytes: number): number {
    this.bytes += bytes
    return this.rings.take(WINDOW, hash, bytes)
  }

  /** It was asked for. */
  touch(slot: number): void {
    const { rings } = this
    if (this.policy === 'recency' || rings.ringOf(slot) === WINDOW) {
      rings.move(slot, WINDOW)
      return
    }
    rings.move(slot, PROTECTED)
    const protectedMax = (this.bytesMax - this.windowMax()) * PROTECTED_SHARE
    while (rings.bytesIn(PROTECTED) > protectedMax) {
      const demoted = rings.oldest(PROTECTED)
      if (demoted === undefined) return
      rings.move(demoted, PROBATION)
    }
  }

  /** What is too much then goes with `makeRoom`. */
  resize(slot: number, bytes: number): void {
    this.bytes += bytes - this.rings.bytesOf(slot)
    this.rings.resize(slot, bytes)
  }

  remove(slot: number): void {
    this.bytes -= this.rings.bytesOf(slot)
    this.rings.move(slot, FREE)
  }

  has(slot: number): boolean {
    return this.rings.ringOf(slot) !== FREE
  }

  hashOf(slot: number): number {
    return this.rings.hashOf(slot)
  }

  bytesOf(slot: number): number {
    return this.rings.bytesOf(slot)
  }

  shrinkTo(bytesMax: number): void {
    this.bytesMax = bytesMax
    this.makeRoom()
  }

  makeRoom(): void {
    const { rings } = this
    const windowMax = this.windowMax()
    for (let moves = 0; rings.bytesIn(WINDOW) > windowMax && moves < MOVES_MAX; moves++) {
      const candidate = rings.oldest(WINDOW)
      if (candidate === undefined) break
      if (this.bytes <= this.bytesMax || this.wins(candidate)) rings.move(candidate, PROBATION)
      else this.evict(candidate)
    }
    this.evictOldest()
  }

  /**
   * Whether a candidate may stay; if so, its victims are gone. Who was not asked for at all goes anyway, which bounds the
   * search. Who is too popular to go is not asked again before the others: else one key that the sketch takes for a
   * popular one would keep everybody out for good.
   */
  private wins(candidate: number): boolean {
    const { rings, sketch } = this
    const frequency = sketch.estimate(rings.hashOf(candidate))
    let missingBytes = this.bytes - this.bytesMax
    let popularity = 0
    let victim = this.firstVictim()
    while (missingBytes > 0) {
      if (victim === undefined) return false
      const asked = sketch.estimate(rings.hashOf(victim))
      popularity += asked
      if (frequency <= popularity) {
        rings.move(victim, PROBATION)
        return false
      }
      missingBytes -= rings.bytesOf(victim)
      const next =
        rings.newerThan(victim) ?? (rings.ringOf(victim) === PROBATION ? rings.oldest(PROTECTED) : undefined)
      if (asked === 0) this.evict(victim)
      victim = next
    }
    this.evictOldest()
    return true
  }

  private evictOldest(): void {
    while (this.bytes > this.bytesMax) {
      const victim = this.firstVictim() ?? this.rings.oldest(WINDOW)
      if (victim === undefined) return
      this.evict(victim)
    }
  }

  private firstVictim(): number | undefined {
    return this.rings.oldest(PROBATION) ?? this.rings.oldest(PROTECTED)
  }

  private windowMax(): number {
    return this.policy === 'recency' ? this.bytesMax : this.bytesMax * WINDOW_SHARE
  }

  private evict(slot: number): void {
    this.evicted(slot)
    this.remove(slot)
  }
}

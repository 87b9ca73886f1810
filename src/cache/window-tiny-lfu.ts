import type { FrequencySketch } from './frequency-sketch.ts'
import { type Listed, RecencyList } from './recency-list.ts'

/** `recency` is LRU. `frequency` is W-TinyLFU: newcomers must have been asked for more often than whom they displace. */
export type Policy = 'recency' | 'frequency'

/** An entry in the order of its eviction. */
export interface Ordered<Entry extends Ordered<Entry>> extends Listed<Entry> {
  readonly hash: number
}

export interface WindowTinyLfuOptions<Entry> {
  readonly bytesMax: number
  readonly policy: Policy
  readonly sketch: FrequencySketch
  /** Called once for each entry that had to go, when it is in no list any more. */
  readonly evicted: (entry: Entry) => void
}

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
export class WindowTinyLfu<Entry extends Ordered<Entry>> {
  policy: Policy
  bytes = 0
  private bytesMax: number
  private readonly window = new RecencyList<Entry>()
  private readonly probation = new RecencyList<Entry>()
  private readonly protected = new RecencyList<Entry>()

  constructor(private readonly options: WindowTinyLfuOptions<Entry>) {
    this.policy = options.policy
    this.bytesMax = options.bytesMax
  }

  insert(entry: Entry): void {
    this.window.push(entry)
    this.bytes += entry.bytes
    this.makeRoom()
  }

  /** It was asked for. */
  touch(entry: Entry): void {
    if (entry.list === this.window || this.policy === 'recency') {
      this.move(entry, this.window)
      return
    }
    this.move(entry, this.protected)
    const protectedMax = (this.bytesMax - this.windowMax()) * PROTECTED_SHARE
    while (this.protected.bytes > protectedMax && this.protected.oldest) {
      this.move(this.protected.oldest, this.probation)
    }
  }

  resize(entry: Entry, bytes: number): void {
    const more = bytes - entry.bytes
    entry.bytes = bytes
    if (entry.list) entry.list.bytes += more
    this.bytes += more
    this.makeRoom()
  }

  remove(entry: Entry): void {
    entry.list?.remove(entry)
    this.bytes -= entry.bytes
  }

  /** Entries that no longer fit are evicted. */
  shrinkTo(bytesMax: number): void {
    this.bytesMax = bytesMax
    this.makeRoom()
  }

  private makeRoom(): void {
    const windowMax = this.windowMax()
    for (let moves = 0; this.window.bytes > windowMax && moves < MOVES_MAX; moves++) {
      const candidate = this.window.oldest
      if (!candidate) break
      if (this.bytes <= this.bytesMax || this.wins(candidate)) this.move(candidate, this.probation)
      else this.evict(candidate)
    }
    while (this.bytes > this.bytesMax) {
      const victim = this.probation.oldest ?? this.protected.oldest ?? this.window.oldest
      if (!victim) break
      this.evict(victim)
    }
  }

  /** Whether it may stay; if so, its victims are gone. Who was not asked for at all goes anyway, which bounds the search. */
  private wins(candidate: Entry): boolean {
    const frequency = this.options.sketch.estimate(candidate.hash)
    const victims: Entry[] = []
    let spareBytes = this.bytesMax - this.bytes
    let popularity = 0
    let victim = this.probation.oldest ?? this.protected.oldest
    while (spareBytes < 0) {
      if (!victim) return false
      const asked = this.options.sketch.estimate(victim.hash)
      popularity += asked
      if (frequency <= popularity) {
        this.move(victim, this.probation)
        return false
      }
      spareBytes += victim.bytes
      const next = victim.newer ?? (victim.list === this.probation ? this.protected.oldest : undefined)
      if (asked > 0) victims.push(victim)
      else this.evict(victim)
      victim = next
    }
    for (const one of victims) this.evict(one)
    return true
  }

  private windowMax(): number {
    return this.policy === 'recency' ? this.bytesMax : this.bytesMax * WINDOW_SHARE
  }

  private evict(entry: Entry): void {
    this.remove(entry)
    this.options.evicted(entry)
  }

  private move(entry: Entry, to: RecencyList<Entry>): void {
    entry.list?.remove(entry)
    to.push(entry)
  }
}

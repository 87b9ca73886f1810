/** The ring of slots that hold no entry. */
export const FREE = 0
const SLOTS_MIN = 64

/**
 * Entries in rings, each from its oldest to its newest. An entry is a slot, a number, whose facts lie in columns: moving
 * one allocates nothing and leaves no work to the garbage collector. A ring is anchored by the slot of its own number,
 * which stands behind its newest entry and before its oldest. Every other slot is always in exactly one ring.
 */
export class EntryRings {
  private newer: Int32Array
  private older: Int32Array
  private hashes = new Int32Array(SLOTS_MIN)
  private sizes = new Float64Array(SLOTS_MIN)
  private places = new Uint8Array(SLOTS_MIN)
  private readonly totals: Float64Array

  constructor(private readonly rings: number) {
    this.newer = Int32Array.from({ length: SLOTS_MIN }, (_, slot) => slot)
    this.older = Int32Array.from(this.newer)
    this.totals = new Float64Array(rings)
    for (let slot = rings; slot < SLOTS_MIN; slot++) this.link(slot, FREE)
  }

  /** A new entry, the newest of a ring; its slot may have been another's before. */
  take(ring: number, hash: number, bytes: number): number {
    if (this.oldest(FREE) === undefined) this.grow()
    const slot = this.oldest(FREE) ?? FREE
    this.hashes[slot] = hash
    this.sizes[slot] = bytes
    this.move(slot, ring)
    return slot
  }

  /** Makes it the newest of a ring. */
  move(slot: number, ring: number): void {
    const bytes = this.bytesOf(slot)
    const from = this.ringOf(slot)
    this.totals[from] = this.bytesIn(from) - bytes
    const newer = this.newer[slot] ?? FREE
    const older = this.older[slot] ?? FREE
    this.newer[older] = newer
    this.older[newer] = older
    this.link(slot, ring)
    this.totals[ring] = this.bytesIn(ring) + bytes
  }

  resize(slot: number, bytes: number): void {
    const ring = this.ringOf(slot)
    this.totals[ring] = this.bytesIn(ring) + bytes - this.bytesOf(slot)
    this.sizes[slot] = bytes
  }

  oldest(ring: number): number | undefined {
    return this.newerThan(ring)
  }

  /** The next one of its ring; `undefined` behind the newest. */
  newerThan(slot: number): number | undefined {
    const newer = this.newer[slot] ?? FREE
    return newer < this.rings ? undefined : newer
  }

  ringOf(slot: number): number {
    return this.places[slot] ?? FREE
  }

  hashOf(slot: number): number {
    return this.hashes[slot] ?? 0
  }

  bytesOf(slot: number): number {
    return this.sizes[slot] ?? 0
  }

  bytesIn(ring: number): number {
    return this.totals[ring] ?? 0
  }

  private link(slot: number, ring: number): void {
    const newest = this.older[ring] ?? FREE
    this.newer[newest] = slot
    this.older[slot] = newest
    this.newer[slot] = ring
    this.older[ring] = slot
    this.places[slot] = ring
  }

  private grow(): void {
    const slots = this.places.length
    const widened = <Column extends Int32Array | Float64Array | Uint8Array>(column: Column, to: Column) => {
      to.set(column)
      return to
    }
    this.newer = widened(this.newer, new Int32Array(2 * slots))
    this.older = widened(this.older, new Int32Array(2 * slots))
    this.hashes = widened(this.hashes, new Int32Array(2 * slots))
    this.sizes = widened(this.sizes, new Float64Array(2 * slots))
    this.places = widened(this.places, new Uint8Array(2 * slots))
    for (let slot = slots; slot < 2 * slots; slot++) this.link(slot, FREE)
  }
}

/** A block is a line of the processor's cache, so that a key costs one look at memory: two rows of 32 counters. */
const BLOCK_BITS = 6
const ROW_BITS = 5
const ROW = 2 ** ROW_BITS
const BYTES_PER_ENTRY = 16
const ENTRIES_MIN = 256
const FREQUENCY_MAX = 15
/** Counts are halved after so many accesses per entry, as TinyLFU proposes: long enough to tell keys apart. */
const ACCESSES_PER_ENTRY = 10

/**
 * How often keys have been asked for lately, cached or not: a count-min sketch (Cormode and Muthukrishnan, 2005) with
 * conservative update (Estan and Varghese, 2002) that ages by halving (Einziger et al., "TinyLFU", 2017). It may say too
 * much, never too little. Two rows, where four are usual: with so many keys to a counter, more rows fill each other.
 */
export class FrequencySketch {
  private counters = new Uint8Array(ENTRIES_MIN * BYTES_PER_ENTRY)
  private entries = ENTRIES_MIN
  private counted = 0

  /** Makes it large enough for so many entries. Both halves begin as the whole was, so that nothing is forgotten. */
  reserve(entries: number): void {
    if (entries <= this.entries) return
    this.entries = entries
    while (entries * BYTES_PER_ENTRY > this.counters.length) {
      const doubled = new Uint8Array(2 * this.counters.length)
      doubled.set(this.counters)
      doubled.set(this.counters, this.counters.length)
      this.counters = doubled
    }
  }

  add(hash: number): void {
    const { counters } = this
    const first = this.firstCounter(hash)
    const second = this.secondCounter(hash)
    const one = counters[first] ?? 0
    const other = counters[second] ?? 0
    if (one <= other && one < FREQUENCY_MAX) counters[first] = one + 1
    if (other <= one && other < FREQUENCY_MAX) counters[second] = other + 1
    this.counted += 1
    if (this.counted >= this.entries * ACCESSES_PER_ENTRY) this.age()
  }

  estimate(hash: number): number {
    return Math.min(this.counters[this.firstCounter(hash)] ?? 0, this.counters[this.secondCounter(hash)] ?? 0)
  }

  /** The low bits of a hash choose the block, the high ones the counters in it. */
  private blockOf(hash: number): number {
    return (hash << BLOCK_BITS) & (this.counters.length - 1)
  }

  private firstCounter(hash: number): number {
    return this.blockOf(hash) + (hash >>> (32 - ROW_BITS))
  }

  private secondCounter(hash: number): number {
    return this.blockOf(hash) + ROW + ((hash >>> (32 - 2 * ROW_BITS)) & (ROW - 1))
  }

  private age(): void {
    const words = new Uint32Array(this.counters.buffer)
    for (let at = 0; at < words.length; at++) words[at] = ((words[at] ?? 0) >>> 1) & 0x7f7f7f7f
    this.counted >>>= 1
  }
}

/** 64 bytes to a block, in four rows of 16 counters. */
const BLOCK_BITS = 6
const ROWS = 4
const ROW_BITS = 4
const BYTES_PER_ENTRY = 16
const ENTRIES_MIN = 512
const FREQUENCY_MAX = 15
/** Counts are halved after so many accesses per entry, as TinyLFU proposes: long enough to tell keys apart. */
const ACCESSES_PER_ENTRY = 10

/**
 * How often keys have been asked for lately, cached or not: a count-min sketch (Cormode and Muthukrishnan, 2005) with
 * conservative update (Estan and Varghese, 2002) that ages by halving (Einziger et al., "TinyLFU", 2017). It may say too
 * much, never too little. The counters of a key lie in one line of the processor's cache.
 */
export class FrequencySketch {
  private counters = new Uint8Array(ENTRIES_MIN * BYTES_PER_ENTRY)
  private entries = ENTRIES_MIN
  private counted = 0

  /** Makes it large enough for so many entries. Both halves begin as the whole was, so that nothing is forgotten. */
  reserve(entries: number): void {
    if (entries <= this.entries) return
    this.entries = entries
    if (entries * BYTES_PER_ENTRY <= this.counters.length) return
    const doubled = new Uint8Array(2 * this.counters.length)
    doubled.set(this.counters)
    doubled.set(this.counters, this.counters.length)
    this.counters = doubled
  }

  add(hash: number): void {
    const { counters } = this
    const frequency = this.estimate(hash)
    if (frequency < FREQUENCY_MAX) {
      const mixed = mix(hash)
      const block = this.blockOf(hash)
      for (let row = 0; row < ROWS; row++) {
        const counter = inRow(block, mixed, row)
        if (counters[counter] === frequency) counters[counter] = frequency + 1
      }
    }
    this.counted += 1
    if (this.counted >= this.entries * ACCESSES_PER_ENTRY) this.age()
  }

  estimate(hash: number): number {
    const { counters } = this
    const mixed = mix(hash)
    const block = this.blockOf(hash)
    let lowest = FREQUENCY_MAX
    for (let row = 0; row < ROWS; row++) {
      const count = counters[inRow(block, mixed, row)] ?? 0
      if (count < lowest) lowest = count
    }
    return lowest
  }

  private blockOf(hash: number): number {
    return (hash << BLOCK_BITS) & (this.counters.length - 1)
  }

  private age(): void {
    const words = new Uint32Array(this.counters.buffer)
    for (let at = 0; at < words.length; at++) words[at] = ((words[at] ?? 0) >>> 1) & 0x7f7f7f7f
    this.counted >>>= 1
  }
}

/** Bits that have nothing to do with those that choose the block. */
function mix(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b)
  return (mixed ^ (mixed >>> 15)) >>> 0
}

/** The counter of a key in one row of its block. */
function inRow(block: number, mixed: number, row: number): number {
  return block + (row << ROW_BITS) + ((mixed >>> (row << 2)) & 15)
}

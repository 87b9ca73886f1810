/**
 * SHA-256 (FIPS 180-4) of bytes that come little by little. The browser's own wants everything at once, answers later,
 * and is absent from pages without TLS.
 */
export class Sha256 {
  private readonly state = Uint32Array.from(INITIAL)
  private readonly block = new Uint8Array(BLOCK_BYTES)
  private readonly schedule = new Uint32Array(ROUNDS)
  private filledBytes = 0
  private totalBytes = 0

  update(bytes: Uint8Array): void {
    this.totalBytes += bytes.length
    for (let at = 0; at < bytes.length; ) {
      const taken = Math.min(BLOCK_BYTES - this.filledBytes, bytes.length - at)
      this.block.set(bytes.subarray(at, at + taken), this.filledBytes)
      this.filledBytes += taken
      at += taken
      if (this.filledBytes === BLOCK_BYTES) this.compress()
    }
  }

  /** The hash in hexadecimal. Nothing can be added afterwards. */
  finish(): string {
    const bits = this.totalBytes * 8
    const padding = new Uint8Array(this.filledBytes < 56 ? 64 - this.filledBytes : 128 - this.filledBytes)
    padding[0] = 0x80
    const view = new DataView(padding.buffer)
    view.setUint32(padding.length - 8, Math.floor(bits / 2 ** 32))
    view.setUint32(padding.length - 4, bits % 2 ** 32)
    this.update(padding)
    return [...this.state].map((word) => word.toString(16).padStart(8, '0')).join('')
  }

  private compress(): void {
    const words = this.expand()
    let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = this.state
    for (let round = 0; round < ROUNDS; round++) {
      const sum1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)
      const choice = (e & f) ^ (~e & g)
      const first = (h + sum1 + choice + (CONSTANTS[round] ?? 0) + (words[round] ?? 0)) | 0
      const sum0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)
      const majority = (a & b) ^ (a & c) ^ (b & c)
      h = g
      g = f
      f = e
      e = (d + first) | 0
      d = c
      c = b
      b = a
      a = (first + sum0 + majority) | 0
    }
    for (const [index, word] of [a, b, c, d, e, f, g, h].entries()) {
      this.state[index] = (this.state[index] ?? 0) + word
    }
    this.filledBytes = 0
  }

  /** The message schedule of the block. */
  private expand(): Uint32Array {
    const words = this.schedule
    const view = new DataView(this.block.buffer)
    for (let index = 0; index < 16; index++) words[index] = view.getUint32(index * 4)
    for (let index = 16; index < ROUNDS; index++) {
      const early = words[index - 15] ?? 0
      const late = words[index - 2] ?? 0
      const small0 = turn(early, 7) ^ turn(early, 18) ^ (early >>> 3)
      const small1 = turn(late, 17) ^ turn(late, 19) ^ (late >>> 10)
      words[index] = (words[index - 16] ?? 0) + small0 + (words[index - 7] ?? 0) + small1
    }
    return words
  }
}

const BLOCK_BYTES = 64
const ROUNDS = 64

/** The fractional parts of the roots of the first primes, as the standard derives them. */
const PRIMES = firstPrimes(ROUNDS)
const CONSTANTS = Uint32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)))
const INITIAL = Uint32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)))

function fraction(root: number): number {
  return Math.floor((root - Math.floor(root)) * 2 ** 32)
}

function firstPrimes(count: number): number[] {
  const primes: number[] = []
  for (let candidate = 2; primes.length < count; candidate++) {
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate)
  }
  return primes
}

function turn(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by))
}

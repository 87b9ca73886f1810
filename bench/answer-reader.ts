/** One HTTP answer, whole. */
export interface Answer {
  readonly status: number
  readonly body: Buffer
  /** The server closes the connection after it. */
  readonly closes: boolean
}

/**
 * Reads the answers of one keep-alive connection: as much of HTTP/1.1 as the servers under test speak, and cheap
 * enough not to be what is measured. Anything else is an error.
 */
export class AnswerReader {
  private head: Head | undefined
  private rest: Buffer = EMPTY
  private parts: Buffer[] = []
  /** Bytes of the body, or of the present chunk and its line end, that are still to come. */
  private missing = 0

  /** Whether an answer has begun and not ended. */
  get midway(): boolean {
    return this.head !== undefined || this.rest.length > 0
  }

  /** The answer that these bytes complete; undefined while there is none. */
  push(bytes: Buffer): Answer | undefined {
    this.rest = this.rest.length > 0 ? Buffer.concat([this.rest, bytes]) : bytes
    this.head ??= this.readHead()
    if (!this.head) return undefined
    const complete = this.head.chunked ? this.readChunks() : this.readBytes(this.missing)
    if (!complete) return undefined
    const { status, closes } = this.head
    const body = this.parts.length === 1 && this.parts[0] ? this.parts[0] : Buffer.concat(this.parts)
    this.head = undefined
    this.parts = []
    return { status, body, closes }
  }

  private readHead(): Head | undefined {
    const end = this.rest.indexOf('\r\n\r\n')
    if (end < 0) return undefined
    const text = this.rest.toString('latin1', 0, end)
    this.rest = this.rest.subarray(end + 4)
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1])
    const chunked = /\r\ntransfer-encoding: *chunked/i.test(text)
    const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1]
    if (Number.isNaN(status) || (!chunked && length === undefined)) throw new Error(`not understood: ${text}`)
    this.missing = chunked ? 0 : Number(length)
    return { status, chunked, closes: /\r\nconnection: *close/i.test(text) }
  }

  /** @returns whether all of them were there */
  private readBytes(count: number): boolean {
    const taken = Math.min(count, this.rest.length)
    if (taken > 0) this.parts.push(this.rest.subarray(0, taken))
    this.rest = this.rest.subarray(taken)
    this.missing = count - taken
    return this.missing === 0
  }

  /** @returns whether the last chunk was there */
  private readChunks(): boolean {
    for (;;) {
      if (this.missing > 2 && !this.readChunk()) return false
      if (this.missing > 0 && !this.skip()) return false
      const end = this.rest.indexOf('\r\n')
      if (end < 0) return false
      const size = Number.parseInt(this.rest.toString('latin1', 0, end), 16)
      if (Number.isNaN(size)) throw new Error('not a chunk size')
      if (size === 0) return this.readEnd(end)
      this.rest = this.rest.subarray(end + 2)
      this.missing = size + 2
    }
  }

  private readChunk(): boolean {
    const whole = this.readBytes(this.missing - 2)
    this.missing += 2
    return whole
  }

  private skip(): boolean {
    const taken = Math.min(this.missing, this.rest.length)
    this.rest = this.rest.subarray(taken)
    this.missing -= taken
    return this.missing === 0
  }

  private readEnd(end: number): boolean {
    if (this.rest.length < end + 4) return false
    this.rest = this.rest.subarray(end + 4)
    return true
  }
}

interface Head {
  readonly status: number
  readonly chunked: boolean
  readonly closes: boolean
}

const EMPTY = Buffer.alloc(0)

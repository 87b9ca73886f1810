import type { FileHandle } from 'node:fs/promises'
import { isNumberType, NUMBER_BYTES, type NumberType, type ValueType } from './format.ts'
import type { Refuse } from './refusal.ts'

/** The largest headers seen are near 30 MiB, nearly all of it vocabulary. */
const HEADER_BYTES_MAX = 256 * 1024 * 1024
const WINDOW_BYTES = 256 * 1024
const VISITED_STRING_BYTES_MAX = 64 * 1024

/**
 * Reads a header front to back through a small window, so that memory never follows a number in the file.
 * Nothing is read beyond the file's end or the header limit, and each count is weighed against the bytes left
 * before anything loops over it.
 */
export class HeaderCursor {
  /** What is being read now, for the messages. */
  place = 'the file header'
  private window = Buffer.alloc(0)
  private windowStart = 0
  private offset = 0
  private readonly end: number

  constructor(
    private readonly file: FileHandle,
    readonly fileBytes: number,
    readonly refuse: Refuse,
  ) {
    this.end = Math.min(fileBytes, HEADER_BYTES_MAX)
  }

  /** Bytes from the start of the file. */
  get position(): number {
    return this.windowStart + this.offset
  }

  async number(type: NumberType): Promise<number> {
    const bytes = NUMBER_BYTES[type]
    await this.hold(bytes)
    const value = readNumber(type, this.window, this.offset)
    this.offset += bytes
    return value
  }

  /** A 64-bit size, count or offset. */
  async size(): Promise<number> {
    await this.hold(8)
    return this.takeSize()
  }

  /** A copy of the next `length` bytes. */
  async bytes(length: number): Promise<Buffer> {
    await this.hold(length)
    const copy = Buffer.from(this.window.subarray(this.offset, this.offset + length))
    this.offset += length
    return copy
  }

  async skip(length: number): Promise<void> {
    if (length > this.end - this.position) throw this.endsEarly()
    this.offset += length
    if (this.offset > this.window.length) {
      this.windowStart += this.offset
      this.window = Buffer.alloc(0)
      this.offset = 0
    }
  }

  /** Passes over `count` strings, showing each to `visit`. The hot loop of a vocabulary: it rarely waits. */
  async eachString(count: number, visit?: (bytes: Buffer) => void): Promise<void> {
    for (let index = 0; index < count; index += 1) {
      if (this.window.length - this.offset < 8) await this.hold(8)
      const length = this.takeSize()
      if (this.window.length - this.offset < length) {
        if (!visit) {
          await this.skip(length)
          continue
        }
        if (length > VISITED_STRING_BYTES_MAX) throw this.tooLong(length)
        await this.hold(length)
      }
      visit?.(this.window.subarray(this.offset, this.offset + length))
      this.offset += length
    }
  }

  /** Refuses a count whose items, at their smallest, cannot fit in what is left of the header. */
  expectRoom(count: number, itemBytes: number, what: string): void {
    const left = this.end - this.position
    if (count * itemBytes <= left) return
    throw this.refuse(`${this.place} announces ${count} ${what}, but only ${left} bytes of header can follow`)
  }

  private takeSize(): number {
    const value = this.window.readUInt32LE(this.offset + 4) * 2 ** 32 + this.window.readUInt32LE(this.offset)
    if (!Number.isSafeInteger(value)) {
      throw this.refuse(`a size in ${this.place} is absurd (${value}, at byte ${this.position})`)
    }
    this.offset += 8
    return value
  }

  /** Makes the next `length` bytes present in the window. */
  private async hold(length: number): Promise<void> {
    if (length <= this.window.length - this.offset) return
    const start = this.position
    const left = this.end - start
    if (length > left) throw this.endsEarly()
    const next = Buffer.allocUnsafe(Math.min(Math.max(length, WINDOW_BYTES), left))
    let filled = this.window.copy(next, 0, this.offset)
    while (filled < next.length) {
      const { bytesRead } = await this.read(next, filled, start + filled)
      if (bytesRead === 0) throw this.endsEarly()
      filled += bytesRead
    }
    this.window = next
    this.windowStart = start
    this.offset = 0
  }

  private async read(into: Buffer, offset: number, position: number): Promise<{ bytesRead: number }> {
    try {
      return await this.file.read(into, offset, into.length - offset, position)
    } catch (cause) {
      throw this.refuse(`it cannot be read at byte ${position} (${String(cause)})`, cause)
    }
  }

  private tooLong(length: number): Error {
    return this.refuse(
      `${this.place} has a string of ${length} bytes; ${VISITED_STRING_BYTES_MAX} is the most`,
    )
  }

  private endsEarly(): Error {
    const ends =
      this.end < this.fileBytes ? `the ${HEADER_BYTES_MAX} bytes a header may have end` : 'the file ends'
    return this.refuse(`${ends} inside ${this.place} (byte ${this.position} of ${this.fileBytes})`)
  }
}

/** Bytes of the smallest value of that type. */
export function smallestBytes(type: Exclude<ValueType, 'array'>): number {
  if (isNumberType(type)) return NUMBER_BYTES[type]
  return type === 'bool' ? 1 : 8
}

function readNumber(type: NumberType, bytes: Buffer, offset: number): number {
  switch (type) {
    case 'uint8':
      return bytes.readUInt8(offset)
    case 'int8':
      return bytes.readInt8(offset)
    case 'uint16':
      return bytes.readUInt16LE(offset)
    case 'int16':
      return bytes.readInt16LE(offset)
    case 'uint32':
      return bytes.readUInt32LE(offset)
    case 'int32':
      return bytes.readInt32LE(offset)
    case 'float32':
      return bytes.readFloatLE(offset)
    case 'uint64':
      return Number(bytes.readBigUInt64LE(offset))
    case 'int64':
      return Number(bytes.readBigInt64LE(offset))
    case 'float64':
      return bytes.readDoubleLE(offset)
  }
}

import { crc32 } from 'node:zlib'
import type { UsageRecord } from '../../contracts/usage.ts'
import { HelixError } from '../../core/errors.ts'

/** No record is longer: its texts are bounded before it is made. */
export const RECORD_BYTES_MAX = 8 * 1024

/** What a record takes beside its texts: names of fields, numbers, checksum. */
const RECORD_BYTES_FIXED = 640

/** A character takes so many bytes at most, where control characters do not occur. */
const CHARACTER_BYTES_MAX = 3

/** What a program wrote that knew no prices cost nothing. */
const NOT_PRICED = { cost: 0 } as const

const CHECKSUM_LENGTH = 8
const SPACE = 32
const NEWLINE = 10

/** Bytes that surely hold a record with these texts. */
export function recordBytesMax(texts: readonly (string | undefined)[]): number {
  const characters = texts.reduce((sum, text) => sum + (text?.length ?? 0), 0)
  return RECORD_BYTES_FIXED + CHARACTER_BYTES_MAX * characters
}

const scratch = Buffer.allocUnsafe(RECORD_BYTES_MAX)

/**
 * A record as one line: its checksum, a space, JSON. The bytes are good until the next call.
 * @throws HelixError `internal_error` when it is too long
 */
export function encodeRecord(record: UsageRecord): Buffer {
  const start = CHECKSUM_LENGTH + 1
  const json = JSON.stringify(record)
  // One byte is left for the newline; a text that was cut short to fit in fills the rest to the last three bytes.
  const end = start + scratch.write(json, start, RECORD_BYTES_MAX - start - 1, 'utf8')
  if (end >= RECORD_BYTES_MAX - 1 - CHARACTER_BYTES_MAX) {
    throw new HelixError(
      'internal_error',
      'Internal error. The request id identifies it in the server log.',
      {
        internal: `usage record of ${record.requestId} is too long`,
      },
    )
  }
  scratch.write(checksumOf(scratch.subarray(start, end)), 0, 'latin1')
  scratch[CHECKSUM_LENGTH] = SPACE
  scratch[end] = NEWLINE
  return scratch.subarray(0, end + 1)
}

export interface Decoded {
  readonly records: readonly UsageRecord[]
  /** Pieces that are no record: what a kill in the middle of a write, or a failing disk, leaves. */
  readonly damaged: number
}

/** The records in a piece of a segment. Zeros are room that was never written to. */
export function decodeRecords(bytes: Buffer): Decoded {
  const records: UsageRecord[] = []
  let damaged = 0
  for (const line of linesOf(bytes)) {
    const json = line.subarray(CHECKSUM_LENGTH + 1)
    if (checksumOf(json) === line.toString('latin1', 0, CHECKSUM_LENGTH) && line[CHECKSUM_LENGTH] === SPACE)
      records.push({ ...NOT_PRICED, ...(JSON.parse(json.toString('utf8')) as UsageRecord) })
    else damaged += 1
  }
  return { records, damaged }
}

function* linesOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] === 0 || bytes[at] === NEWLINE) {
      at += 1
      continue
    }
    const newline = bytes.indexOf(NEWLINE, at)
    const line = bytes.subarray(at, newline < 0 ? bytes.length : newline)
    // Nothing was ever written behind a record that was cut off.
    const zero = line.indexOf(0)
    yield zero < 0 ? line : line.subarray(0, zero)
    at += line.length
  }
}

function checksumOf(bytes: Buffer): string {
  return crc32(bytes).toString(16).padStart(CHECKSUM_LENGTH, '0')
}

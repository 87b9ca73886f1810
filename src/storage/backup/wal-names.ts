import { HelixError } from '../../core/errors.ts'

/** A file of the write-ahead log: the part of it from `number * segmentBytes` on, as that timeline has it. */
export interface WalSegment {
  readonly timeline: number
  readonly number: number
}

/** Where a timeline's ancestors ended, oldest first, as its `.history` file says. */
export type TimelineHistory = readonly { readonly timeline: number; readonly endLsn: bigint }[]

/** `0000000100000002000000A1`: eight hexadecimal digits each for timeline, position / 4 GiB and segment in those. */
export function parseSegmentName(name: string, segmentBytes: number): WalSegment | undefined {
  if (!/^[0-9A-F]{24}$/.test(name)) return undefined
  const [timeline, upper, lower] = [0, 8, 16].map((at) => Number.parseInt(name.slice(at, at + 8), 16))
  if (timeline === undefined || upper === undefined || lower === undefined) return undefined
  const perUpper = 2 ** 32 / segmentBytes
  return lower < perUpper ? { timeline, number: upper * perUpper + lower } : undefined
}

export function segmentName({ timeline, number }: WalSegment, segmentBytes: number): string {
  const perUpper = 2 ** 32 / segmentBytes
  return [timeline, Math.floor(number / perUpper), number % perUpper].map(hex8).join('')
}

export function historyName(timeline: number): string {
  return `${hex8(timeline)}.history`
}

/** `2/A1000028`. */
export function parseLsn(text: string): bigint {
  const [, upper, lower] = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text) ?? []
  if (upper === undefined || lower === undefined) {
    throw new HelixError('backup_invalid', `'${text}' is not a position in a write-ahead log.`)
  }
  return (BigInt(`0x${upper}`) << 32n) | BigInt(`0x${lower}`)
}

/** The segment that holds the byte before that position: the last one needed to reach it. */
export function segmentBefore(lsn: bigint, timeline: number, segmentBytes: number): WalSegment {
  return { timeline, number: Number((lsn - 1n) / BigInt(segmentBytes)) }
}

/** Lines of `timeline <tab> position <tab> reason`; comments and empty lines between them. */
export function parseHistory(text: string): TimelineHistory {
  return text.split('\n').flatMap((line) => {
    const [, timeline, endLsn] = /^\s*(\d+)\s+([0-9A-F]+\/[0-9A-F]+)/i.exec(line) ?? []
    return timeline && endLsn ? [{ timeline: Number(timeline), endLsn: parseLsn(endLsn) }] : []
  })
}

function hex8(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0')
}

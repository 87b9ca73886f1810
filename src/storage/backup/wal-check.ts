import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createGunzip } from 'node:zlib'
import type { OnProgress } from '../../core/progress.ts'
import { cksumOf, type WalArchive } from './wal-archive.ts'
import type { ArchivedFile } from './wal-chain.ts'
import { parseSegmentName } from './wal-names.ts'

export interface WalCheckRequest {
  readonly archive: WalArchive
  readonly segments: readonly ArchivedFile[]
  readonly segmentBytes: number
  readonly systemIdentifier: string
  readonly signal: AbortSignal
  readonly onProgress: OnProgress
}

/**
 * Reads every segment to its end: the compressed file's own checksum covers each byte, and the header says which part
 * of whose log it is. Returns what is wrong, in words.
 */
export async function checkSegments(request: WalCheckRequest): Promise<readonly string[]> {
  const { segments, signal, onProgress } = request
  const problems: string[] = []
  for (const [index, { name }] of segments.entries()) {
    signal.throwIfAborted()
    const problem = await problemOf(name, request)
    if (problem) problems.push(`WAL file ${name}: ${problem}`)
    onProgress({ step: 'checking the log', done: index + 1, total: segments.length, unit: 'files' })
  }
  return problems
}

/** XLogLongPageHeaderData: position of the page at 8, system identifier at 24, segment size at 32. */
const HEADER_BYTES = 40

async function problemOf(name: string, request: WalCheckRequest): Promise<string | undefined> {
  const { archive, segmentBytes, systemIdentifier } = request
  let head: Buffer = Buffer.alloc(0)
  let sizeBytes = 0
  try {
    const compressed = createReadStream(archive.path(name))
    const content = compressed.on('error', (error) => content.destroy(error)).pipe(createGunzip())
    for await (const chunk of content as AsyncIterable<Buffer>) {
      if (head.length < HEADER_BYTES) head = Buffer.concat([head, chunk.subarray(0, HEADER_BYTES)])
      sizeBytes += chunk.length
    }
  } catch (reason) {
    return `damaged (${reason instanceof Error ? reason.message : String(reason)})`
  }
  if (sizeBytes !== segmentBytes) return `has ${sizeBytes} bytes instead of ${segmentBytes}`
  const sum = await readFile(archive.sumPath(name), 'utf8').catch(() => undefined)
  if (sum === undefined) return 'its checksum is missing'
  if (sum.trim() !== (await cksumOf(archive.path(name)))) return 'damaged (its checksum differs)'
  const position = head.readBigUInt64LE(8)
  const segment = parseSegmentName(name, segmentBytes)
  if (position !== BigInt(segment?.number ?? -1) * BigInt(segmentBytes))
    return 'holds another part of the log'
  if (String(head.readBigUInt64LE(24)) !== systemIdentifier) return 'belongs to another database'
  return undefined
}

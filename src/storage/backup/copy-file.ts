import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'

/** Small enough that hashing one piece holds up nobody's request for a millisecond. */
const PIECE_BYTES = 256 * 1024

export interface CopyOptions {
  readonly signal: AbortSignal
  readonly onBytes: (bytes: number) => void
}

export interface CopyResult {
  readonly sizeBytes: number
  readonly sha256: string
}

/** Copies a file as it is at that moment and hashes what was copied; on the disk when it resolves. */
export async function copyFile(from: string, to: string, options: CopyOptions): Promise<CopyResult> {
  const source = await open(from, 'r')
  try {
    const target = await open(to, 'wx', 0o600)
    try {
      const result = await read(source, options, (piece) => writeAll(target, piece))
      await target.datasync()
      return result
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

export async function hashFile(path: string, options: CopyOptions): Promise<CopyResult> {
  const file = await open(path, 'r')
  try {
    return await read(file, options, async () => {})
  } finally {
    await file.close()
  }
}

async function read(
  file: FileHandle,
  { signal, onBytes }: CopyOptions,
  take: (piece: Buffer) => Promise<void>,
): Promise<CopyResult> {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(PIECE_BYTES)
  let sizeBytes = 0
  for (;;) {
    signal.throwIfAborted()
    const { bytesRead } = await file.read(buffer, 0, PIECE_BYTES)
    if (bytesRead === 0) return { sizeBytes, sha256: hash.digest('hex') }
    const piece = buffer.subarray(0, bytesRead)
    hash.update(piece)
    await take(piece)
    sizeBytes += bytesRead
    onBytes(bytesRead)
  }
}

async function writeAll(file: FileHandle, piece: Buffer): Promise<void> {
  for (let done = 0; done < piece.length; ) {
    done += (await file.write(piece, done, piece.length - done)).bytesWritten
  }
}

/** Runs `work` on every item, a few at a time; the first failure ends it. */
export async function forEach<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<void>,
  atOnce = 4,
): Promise<void> {
  const rest = items[Symbol.iterator]()
  let failed = false
  const worker = async () => {
    for (const item of { [Symbol.iterator]: () => rest }) {
      if (failed) return
      try {
        await work(item)
      } catch (reason) {
        failed = true
        throw reason
      }
    }
  }
  const settled = await Promise.allSettled(Array.from({ length: atOnce }, worker))
  // Not before the others are done: whoever cleans up must not meet one that still writes.
  for (const one of settled) if (one.status === 'rejected') throw one.reason
}

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import { noProgress, type OnProgress } from '../core/progress.ts'

export interface HashFileOptions {
  readonly sizeBytes?: number | undefined
  readonly onProgress?: OnProgress | undefined
  readonly signal?: AbortSignal | undefined
}

/** SHA-256 of the file's content, in lower-case hex. Rejects with the signal's reason when it aborts. */
export async function hashFile(path: string, options: HashFileOptions = {}): Promise<string> {
  const { sizeBytes: total, onProgress = noProgress, signal } = options
  const hash = createHash('sha256')
  let done = 0
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>) {
    signal?.throwIfAborted()
    hash.update(chunk)
    done += chunk.length
    onProgress({ step: `checking ${basename(path)}`, done, total, unit: 'bytes' })
  }
  return hash.digest('hex')
}

import { createHash, type Hash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { HelixError } from '../core/errors.ts'
import type { OnProgress } from '../core/progress.ts'
import { asDiskFull } from './free-space.ts'

export interface WholeFile {
  readonly sha256: string
  readonly sizeBytes: number
}

export interface PartialFileOptions {
  /** Told how far the hashing of bytes from an earlier run is. */
  readonly onProgress: OnProgress
  readonly signal: AbortSignal | undefined
}

/**
 * A file that is still being written, with the running SHA-256 of what it holds. It only gets its final name
 * by `land`, whole and flushed to the disk.
 */
export class PartialFile {
  /** How large it will be, where that is known; makes the message of a full disk exact. */
  expectedBytes: number | undefined
  private hash: Hash = createHash('sha256')
  private size = 0

  private constructor(
    readonly path: string,
    private readonly handle: FileHandle,
  ) {}

  /** Opens or creates it, keeping and hashing the bytes that an earlier run left. */
  static async open(path: string, options: PartialFileOptions): Promise<PartialFile> {
    // A symbolic link here could only have been planted: following it would write outside the folder.
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW
    const file = new PartialFile(path, await open(path, flags))
    try {
      await file.hashPresent(options)
      return file
    } catch (cause) {
      await file.close()
      throw cause
    }
  }

  get sizeBytes(): number {
    return this.size
  }

  get sha256(): string {
    return this.hash.copy().digest('hex')
  }

  /** @throws HelixError `disk_full` */
  async append(chunk: Uint8Array): Promise<void> {
    await this.unlessDiskFull(() => this.handle.appendFile(chunk))
    this.hash.update(chunk)
    this.size += chunk.length
  }

  /** Forgets all that was written. */
  async restart(): Promise<void> {
    await this.handle.truncate(0)
    this.hash = createHash('sha256')
    this.size = 0
  }

  /**
   * Gives it its final name, replacing what had that name. A crash leaves either nothing or the whole file
   * there.
   * @throws HelixError `disk_full`, `download_interrupted`
   */
  async land(into: string): Promise<WholeFile> {
    // Some file systems find room only now for what was written before.
    await this.unlessDiskFull(() => this.handle.sync())
    await this.requireSoleWriter()
    await this.handle.close()
    await rename(this.path, into)
    await syncFolder(dirname(into))
    return { sha256: this.sha256, sizeBytes: this.size }
  }

  /** Closes it and leaves it to be continued. May be called again, and after `land`. */
  async close(): Promise<void> {
    await this.handle.close()
  }

  async discard(): Promise<void> {
    await this.handle.close()
    await rm(this.path, { force: true })
  }

  private async hashPresent({ onProgress, signal }: PartialFileOptions): Promise<void> {
    const total = (await this.handle.stat()).size
    if (total === 0) return
    const present = this.handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 2 ** 20 })
    for await (const chunk of present as AsyncIterable<Buffer>) {
      signal?.throwIfAborted()
      this.hash.update(chunk)
      this.size += chunk.length
      onProgress({ step: `checking ${basename(this.path)}`, done: this.size, total, unit: 'bytes' })
    }
  }

  /** Bytes that another process appended are not in the hash. */
  private async requireSoleWriter(): Promise<void> {
    if ((await this.handle.stat()).size === this.size) return
    throw new HelixError(
      'download_interrupted',
      `Another process writes to ${this.path} as well. Let one of the two end, then run the command again.`,
    )
  }

  private async unlessDiskFull(write: () => Promise<void>): Promise<void> {
    try {
      await write()
    } catch (cause) {
      const missing = this.expectedBytes === undefined ? undefined : this.expectedBytes - this.size
      throw await asDiskFull(cause, dirname(this.path), missing)
    }
  }
}

/** Makes a rename in the folder survive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

import { closeSync, fstatSync, openSync, rmSync, unlinkSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { HelixError } from '../../core/errors.ts'
import { type Decoded, decodeRecords, RECORD_BYTES_MAX } from './spool-record.ts'

const ZEROS = Buffer.alloc(64 * 1024)
const NEWLINE = 10

/**
 * One file of a spool. It is made as long as it will ever be, so that what was reserved in it can be written when the
 * disk has become full; only on file systems that never overwrite in place (btrfs, ZFS) such a write may still fail.
 */
export class Segment {
  /** Where the next record goes. */
  private writtenBytes = 0
  /** Up to here it was read, and what was read is kept elsewhere. */
  private deliveredBytes = 0

  private constructor(
    readonly path: string,
    readonly sizeBytes: number,
    /** Open for writing; undefined once it takes no more. */
    private descriptor: number | undefined,
  ) {}

  /** @throws NodeJS.ErrnoException when the disk has too little room; nothing of it stays */
  static create(path: string, sizeBytes: number): Segment {
    const descriptor = openSync(path, 'wx', 0o600)
    try {
      for (let at = 0; at < sizeBytes; )
        at += writeSync(descriptor, ZEROS, 0, Math.min(ZEROS.length, sizeBytes - at), at)
    } catch (reason) {
      closeSync(descriptor)
      unlinkSync(path)
      throw reason
    }
    return new Segment(path, sizeBytes, descriptor)
  }

  /** One that another process has left: it is read to its end. */
  static adopt(path: string): Segment {
    const descriptor = openSync(path, 'r')
    const { size } = fstatSync(descriptor)
    closeSync(descriptor)
    const segment = new Segment(path, size, undefined)
    segment.writtenBytes = size
    return segment
  }

  /** Room for records: the last of them may need as much as any. */
  get freeBytes(): number {
    if (this.descriptor === undefined) return 0
    return Math.max(0, this.sizeBytes - this.writtenBytes - RECORD_BYTES_MAX)
  }

  get undeliveredBytes(): number {
    return this.writtenBytes - this.deliveredBytes
  }

  /** Everything that was written is kept elsewhere, and no more will be written. */
  get isDone(): boolean {
    return this.descriptor === undefined && this.undeliveredBytes === 0
  }

  /** In the hands of the kernel when it returns. @throws HelixError `storage_unavailable` */
  append(bytes: Buffer): void {
    try {
      const count =
        this.descriptor === undefined
          ? 0
          : writeSync(this.descriptor, bytes, 0, bytes.length, this.writtenBytes)
      if (count < bytes.length) throw spoolFailure(`only ${count} of ${bytes.length} bytes written`)
    } catch (reason) {
      // What a part of it left there is written over, or found out by its checksum.
      throw reason instanceof HelixError ? reason : spoolFailure(String(reason))
    }
    this.writtenBytes += bytes.length
    if (this.freeBytes === 0) this.close()
  }

  /** The oldest records that are not delivered, in about so many bytes. */
  async read(bytesMax: number): Promise<Decoded & { readonly endBytes: number }> {
    const file = await open(this.path)
    try {
      const length = Math.min(bytesMax, this.undeliveredBytes)
      const { bytesRead, buffer } = await file.read(
        Buffer.allocUnsafe(length),
        0,
        length,
        this.deliveredBytes,
      )
      const start = this.deliveredBytes
      // A record is far shorter than a piece: without a newline in it there is none.
      const cut =
        bytesRead === 0 ? length : buffer.subarray(0, bytesRead).lastIndexOf(NEWLINE) + 1 || bytesRead
      return { ...decodeRecords(buffer.subarray(0, Math.min(cut, bytesRead))), endBytes: start + cut }
    } finally {
      await file.close()
    }
  }

  delivered(endBytes: number): void {
    this.deliveredBytes = endBytes
  }

  /** Takes no more records. */
  close(): void {
    if (this.descriptor !== undefined) closeSync(this.descriptor)
    this.descriptor = undefined
  }

  remove(): void {
    this.close()
    rmSync(this.path, { force: true })
  }
}

function spoolFailure(internal: string): HelixError {
  return new HelixError(
    'storage_unavailable',
    'What the request cost cannot be recorded. Try again shortly.',
    {
      internal: `usage spool: ${internal}`,
    },
  )
}

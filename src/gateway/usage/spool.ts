import { mkdirSync, readdirSync, renameSync, rmdirSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import type { UsageRecord } from '../../contracts/usage.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import { SpoolOwners, spoolFolderName } from './spool-owner.ts'
import { encodeRecord, RECORD_BYTES_MAX } from './spool-record.ts'
import { Segment } from './spool-segment.ts'

export interface SpoolOptions {
  /** Holds a folder for each process; those of the dead are taken over. */
  readonly directory: string
  readonly bytesMax: number
  /** Tells two spools of one process apart. */
  readonly token: string
  readonly clock: Clock
  readonly log: Logger
}

export interface SpoolBatch {
  readonly records: readonly UsageRecord[]
  /** To be called when the records are kept elsewhere. */
  delivered(): void
}

const SEGMENT_BYTES_MAX = 2 ** 20
const SEGMENT_BYTES_MIN = 8 * RECORD_BYTES_MAX
/** After a disk was found full it is tried again no sooner. */
const RETRY_MS = 200

/**
 * Usage records that the database has not taken yet, in files that outlive the process: `append` returns when the
 * kernel has the record, so a kill loses none. A loss of power may lose the last seconds, since a wait for the disk at
 * each request would cost more than those records are worth. Room is reserved before a request begins and used when
 * it ends, so that a spool or a disk that becomes full refuses new requests and loses nothing of those under way.
 */
export class Spool {
  /** In the order in which they are read; those of other processes first. */
  private readonly segments: Segment[] = []
  private readonly folder: string
  private readonly owners = new SpoolOwners()
  private readonly segmentBytes: number
  private reservedBytes = 0
  private number = 0
  private retryAtMs = Number.NEGATIVE_INFINITY
  private refusing = false

  /** @throws NodeJS.ErrnoException when its folder cannot be made */
  constructor(private readonly options: SpoolOptions) {
    const { directory, bytesMax, token } = options
    this.segmentBytes = Math.min(SEGMENT_BYTES_MAX, Math.max(SEGMENT_BYTES_MIN, Math.floor(bytesMax / 8)))
    this.folder = join(directory, spoolFolderName(token))
    mkdirSync(this.folder, { recursive: true, mode: 0o700 })
  }

  /** Whether there is room for so many bytes; then they are kept free until `append` or `release`. */
  reserve(bytes: number): boolean {
    while (this.freeBytes() < this.reservedBytes + bytes) if (!this.grow()) return false
    this.reservedBytes += bytes
    if (this.refusing) this.options.log.info('usage spool has room again')
    this.refusing = false
    return true
  }

  release(bytes: number): void {
    this.reservedBytes -= bytes
  }

  /**
   * Into the room that was reserved for it, which stays reserved if this fails.
   * @throws HelixError `storage_unavailable` when the disk fails
   */
  append(record: UsageRecord, reservedBytes: number): void {
    const bytes = encodeRecord(record)
    if (this.freeBytes() === 0 && !this.grow()) throw noRoom()
    this.segments.find(({ freeBytes }) => freeBytes > 0)?.append(bytes)
    this.reservedBytes -= reservedBytes
  }

  /** Why requests are refused, or undefined. It looks again, since nobody may be there whose request would. */
  problem(): HelixError | undefined {
    if (this.refusing && this.reserve(RECORD_BYTES_MAX)) this.release(RECORD_BYTES_MAX)
    return this.refusing ? noRoom() : undefined
  }

  get undeliveredBytes(): number {
    return this.segments.reduce((sum, segment) => sum + segment.undeliveredBytes, 0)
  }

  /** The oldest records, in about so many bytes; undefined when there are none. One batch at a time. */
  async next(bytesMax: number): Promise<SpoolBatch | undefined> {
    for (;;) {
      const segment = this.segments.find(({ undeliveredBytes }) => undeliveredBytes > 0)
      if (!segment) return undefined
      const { records, damaged, endBytes } = await segment.read(bytesMax)
      if (damaged > 0) {
        this.options.log.warn('usage records damaged', { segment: segment.path, pieces: damaged })
      }
      const delivered = () => {
        segment.delivered(endBytes)
        this.clean()
      }
      if (records.length > 0) return { records, delivered }
      delivered()
    }
  }

  /** Takes over what processes that are gone have left, and tells others that this one is not. */
  adopt(): void {
    const { directory, clock, log } = this.options
    this.showLife(new Date(clock.now()))
    for (const name of readdirSync(directory)) {
      const folder = join(directory, name)
      try {
        if (!this.owners.isGone(folder, name, clock.monotonic())) continue
        const adopted = readdirSync(folder)
          .sort()
          .flatMap((file) => this.take(folder, name, file))
        this.segments.unshift(...adopted)
        rmdirSync(folder)
        if (adopted.length > 0) log.info('usage spool adopted', { folder, segments: adopted.length })
      } catch (reason) {
        // Another process may have been faster.
        log.debug('usage spool not adopted', { folder, cause: String(reason) })
      }
    }
  }

  /** Takes no more. What is not delivered waits for another process. */
  close(): void {
    for (const segment of this.segments) segment.close()
    this.clean()
    if (this.segments.length > 0) return
    try {
      rmdirSync(this.folder)
    } catch (reason) {
      this.options.log.debug('usage spool folder stays', { folder: this.folder, cause: String(reason) })
    }
  }

  private showLife(now: Date): void {
    try {
      utimesSync(this.folder, now, now)
    } catch (reason) {
      // This process was silent for so long that another one took its segments over; what it writes now goes elsewhere.
      this.options.log.error('usage spool was taken over', { folder: this.folder, cause: String(reason) })
      for (const segment of this.segments.splice(0)) segment.close()
      mkdirSync(this.folder, { recursive: true, mode: 0o700 })
    }
  }

  /** A rename says who got it, where several want it. */
  private take(folder: string, name: string, file: string): Segment[] {
    const path = join(this.folder, `${name}.${file}`)
    try {
      renameSync(join(folder, file), path)
      return [Segment.adopt(path)]
    } catch {
      return []
    }
  }

  private freeBytes(): number {
    let sum = 0
    for (const segment of this.segments) sum += segment.freeBytes
    return sum
  }

  private grow(): boolean {
    const { bytesMax, clock, log } = this.options
    if (this.refusing && clock.monotonic() < this.retryAtMs) return false
    const usedBytes = this.segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    try {
      if (usedBytes + this.segmentBytes > Math.max(bytesMax, this.segmentBytes)) throw noRoom()
      this.number += 1
      const path = join(this.folder, `${String(this.number).padStart(8, '0')}.segment`)
      this.segments.push(Segment.create(path, this.segmentBytes))
      return true
    } catch (reason) {
      this.retryAtMs = clock.monotonic() + RETRY_MS
      if (!this.refusing) log.error('usage spool has no room', { folder: this.folder, cause: String(reason) })
      this.refusing = true
      return false
    }
  }

  private clean(): void {
    for (const segment of this.segments.filter(({ isDone }) => isDone)) {
      segment.remove()
      this.segments.splice(this.segments.indexOf(segment), 1)
      this.retryAtMs = Number.NEGATIVE_INFINITY
    }
  }
}

function noRoom(): HelixError {
  return new HelixError(
    'storage_unavailable',
    'There is no room to record what requests cost. Try again shortly.',
    { retryAfterMs: 1_000, internal: 'the usage spool is full' },
  )
}

import type { Clock } from '../core/clock.ts'

export interface AttendanceOptions {
  readonly clock: Clock
  /** How long it may be without a reader; Infinity: for ever. */
  readonly detachMs: number
  /**
   * Whether somebody reads it at another gateway; rejects when nobody can say. Undefined: there is no other.
   */
  readonly elsewhere?: (() => Promise<boolean>) | undefined
  /** Nobody has read it for too long. */
  readonly abandon: () => void
}

/** A stream that nobody has begun to read gets at least so long. */
const FIRST_READER_MS = 30_000
/** How often is looked who reads elsewhere, while nobody reads here. */
const LOOK_EVERY_MS = 1_000
/** While nobody can say who reads elsewhere, a stream goes on for so long after its time. */
const UNKNOWN_MS = 10_000

/** Decides when a stream that nobody reads is given up. */
export class Attendance {
  private cancel = () => {}
  private here = false
  private over = false
  /** When somebody was last known to read it. */
  private seenMs: number
  private patienceMs: number

  constructor(private readonly options: AttendanceOptions) {
    this.seenMs = options.clock.monotonic()
    this.patienceMs = Math.max(options.detachMs, FIRST_READER_MS)
    this.wait()
  }

  /** The first reader here has come, or the last has left. */
  attended(isAttended: boolean): void {
    this.here = isAttended
    this.cancel()
    this.seen()
    if (!isAttended) this.wait()
  }

  /** Nothing is left to be given up. */
  end(): void {
    this.over = true
    this.cancel()
  }

  private wait(): void {
    if (this.over || this.patienceMs === Number.POSITIVE_INFINITY) return
    const { clock, elsewhere } = this.options
    const leftMs = this.seenMs + this.patienceMs - clock.monotonic()
    const waitMs = elsewhere ? Math.min(leftMs, LOOK_EVERY_MS) : leftMs
    if (leftMs <= 0) this.look()
    else this.cancel = clock.schedule(waitMs, () => this.look())
  }

  private look(): void {
    const { elsewhere } = this.options
    if (elsewhere)
      elsewhere().then(
        (isAttended) => this.decide(isAttended, 0),
        () => this.decide(false, UNKNOWN_MS),
      )
    else this.decide(false, 0)
  }

  private decide(isAttended: boolean, moreMs: number): void {
    if (this.over || this.here) return
    const { clock, abandon } = this.options
    if (isAttended) this.seen()
    else if (clock.monotonic() - this.seenMs >= this.patienceMs + moreMs) {
      this.end()
      abandon()
      return
    }
    this.cancel()
    if (this.patienceMs === 0 || moreMs > 0) this.cancel = clock.schedule(LOOK_EVERY_MS, () => this.look())
    else this.wait()
  }

  private seen(): void {
    this.seenMs = this.options.clock.monotonic()
    this.patienceMs = this.options.detachMs
  }
}

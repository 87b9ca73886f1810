/** Two limits instead of one, so that a value beside a limit does not change what is said at every reading. */
export interface Band {
  /** Reached from below, it is over. */
  readonly enter: number
  /** Reached from above, it is no longer over. */
  readonly leave: number
}

/** Whether `value` is over the band, having been so or not before. An unknown value changes nothing. */
export function isOver(wasOver: boolean, value: number | undefined, band: Band): boolean {
  if (value === undefined) return wasOver
  return wasOver ? value > band.leave : value >= band.enter
}

/**
 * Memory of others, made steady: it grows only once every reading of the window says so, and shrinks at once. A peak
 * that is gone in a second must not cost a place; the price is that a lasting one is believed a window later.
 */
export class SteadyBytes {
  private readonly readings: number[] = []
  private reported = 0

  constructor(
    private readonly windowLength: number,
    /** Smaller changes than this are not told. */
    private readonly stepBytes: number,
  ) {}

  next(bytes: number): number {
    this.readings.push(bytes)
    if (this.readings.length > this.windowLength) this.readings.shift()
    // The first readings of all count as they are: what was there before us did not just peak.
    const lowest = Math.min(...this.readings)
    if (lowest === 0 || Math.abs(lowest - this.reported) >= this.stepBytes) this.reported = lowest
    return this.reported
  }

  /** For the time in which a reading cannot tell ours from others': what was said may shrink, not grow. */
  nextUnsure(bytes: number): number {
    return this.next(Math.min(bytes, this.reported))
  }
}

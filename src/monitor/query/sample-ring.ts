/** What a series said in a window. Indexes into its arrays, which are not copied. */
export interface Window {
  readonly times: Float64Array
  /** As read. Of a counter, begun again at 0 where its process did. */
  readonly values: Float64Array
  /** What a counter had counted before it last began again: with `values`, what it would be if it never had. */
  readonly before: Float64Array
  /** First and last of them; `to` below `from` where there is none. */
  readonly from: number
  readonly to: number
  /** The reading before the window, kept for a window that is longer than readings lie close. */
  readonly precedingMs: number | undefined
}

/**
 * How close the readings of a counter are kept, by their age: as they came for half an hour, then one in 30 s, after an hour
 * one in three minutes. Where a longer window begins between two of them, growth is taken to be even there: of an hour or
 * six that is 0.83 %. Resets are added up before readings are dropped, so that none is lost.
 */
const TIERS = [
  { olderThanMs: 3_600_000, stepMs: 180_000 },
  { olderThanMs: 1_800_000, stepMs: 30_000 },
] as const

/** Windows up to this are answered from every reading. */
export const EXACT_WINDOW_MS = 1_800_000
/** Readings do not come to the millisecond. */
const STEP_TOLERANCE = 0.9
const FIRST_CAPACITY = 8
/** Six hours of a counter need 350; gauges are only asked about minutes. */
const CAPACITY_MAX = 1024

/** Prometheus takes a value for the present one for five minutes, if nobody says that its series has ended. */
const LOOKBACK_MS = 300_000

/** The readings of one series. NaN says that it had ended by then. */
export class SampleRing {
  private times = new Float64Array(FIRST_CAPACITY)
  private values = new Float64Array(FIRST_CAPACITY)
  private before = new Float64Array(FIRST_CAPACITY)
  private count = 0

  constructor(
    readonly labels: Readonly<Record<string, string>>,
    private readonly keep: { readonly windowMs: number; readonly counter: boolean },
  ) {}

  get bytes(): number {
    return this.times.length * 24
  }

  get newestMs(): number {
    return this.times[this.count - 1] ?? 0
  }

  /** @param mayGrow otherwise the oldest readings make room */
  append(atMs: number, value: number, mayGrow = true): void {
    // A clock that was set back: what it said before would never get old.
    while (this.count > 0 && this.newestMs >= atMs) this.count--
    if (this.count === this.times.length) this.makeRoom(atMs, mayGrow)
    const { reading, before } = this.newest()
    this.times[this.count] = atMs
    this.values[this.count] = value
    this.before[this.count] = this.keep.counter && value < reading ? before + reading : before
    this.count++
  }

  /** The series is not exported any more, or nobody can read it. */
  end(atMs: number, mayGrow = true): void {
    if (!Number.isNaN(this.values[this.count - 1] ?? Number.NaN)) this.append(atMs, Number.NaN, mayGrow)
  }

  /** What it says at that moment, if it still says anything. */
  latest(atMs: number): number | undefined {
    const index = this.indexAfter(atMs) - 1
    const value = this.values[index]
    if (index < 0 || value === undefined || Number.isNaN(value)) return undefined
    return atMs - (this.times[index] ?? 0) > LOOKBACK_MS ? undefined : value
  }

  /** From and to that moment, both included. */
  window(fromMs: number, toMs: number): Window {
    const { times, values, before } = this
    let from = this.indexAfter(fromMs)
    if (times[from - 1] === fromMs) from--
    const precedingMs = from > 0 ? times[from - 1] : undefined
    return { times, values, before, from, to: this.indexAfter(toMs) - 1, precedingMs }
  }

  private newest(): { readonly reading: number; readonly before: number } {
    let index = this.count - 1
    while (index >= 0 && Number.isNaN(this.values[index] ?? 0)) index--
    return { reading: this.values[index] ?? 0, before: this.before[index] ?? 0 }
  }

  /** The first index whose time is after that. */
  private indexAfter(atMs: number): number {
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.times[middle] ?? 0) > atMs) high = middle
      else low = middle + 1
    }
    return low
  }

  private makeRoom(nowMs: number, mayGrow: boolean): void {
    this.thin(nowMs)
    if (this.count < this.times.length * 0.75) return
    if (mayGrow && this.times.length < CAPACITY_MAX) {
      const capacity = this.times.length * 2
      for (const name of ['times', 'values', 'before'] as const) {
        const larger = new Float64Array(capacity)
        larger.set(this[name])
        this[name] = larger
      }
      return
    }
    this.dropFirst(this.count >> 2)
  }

  /** Drops what nobody asks for any more, and of a counter what lies closer than its age needs. */
  private thin(nowMs: number): void {
    const { times, values, before, keep } = this
    // One reading before the window is kept: it says that the series did not begin in it.
    const gone = Math.max(this.indexAfter(nowMs - keep.windowMs) - 1, 0)
    let kept = 0
    for (let index = gone; index < this.count; index++) {
      const at = times[index] ?? 0
      const stepMs = keep.counter ? stepOf(nowMs - at) : 0
      const last = index === this.count - 1
      if (kept > 0 && !last && at - (times[kept - 1] ?? 0) < stepMs * STEP_TOLERANCE) continue
      times[kept] = at
      values[kept] = values[index] ?? 0
      before[kept] = before[index] ?? 0
      kept++
    }
    this.count = kept
  }

  private dropFirst(number: number): void {
    for (const array of [this.times, this.values, this.before]) array.copyWithin(0, number, this.count)
    this.count -= number
  }
}

/** How far apart readings of that age may be. */
export function stepOf(ageMs: number): number {
  return TIERS.find(({ olderThanMs }) => ageMs > olderThanMs)?.stepMs ?? 0
}

/** What a counter is held to. Whole numbers only: then every implementation agrees to the last unit. */
export interface Terms {
  readonly kind: CounterKind
  /** Units per window; for the others, units that there may be at all. */
  readonly limit: number
  /** 0 where there is no window. */
  readonly windowMs: number
  /** What a token bucket holds at most; `limit` for the others. */
  readonly burst: number
}

export type CounterKind = 'token-bucket' | 'sliding-window' | 'fixed-window' | 'gauge' | 'budget'

/** Where in a counter a charge lies, so that it can be corrected later. */
export interface Entry {
  /** When it was made, as that counter reckons: what `take` returned. */
  readonly atMs: number
  /** The name that it was taken under. */
  readonly name: string
}

/**
 * One way to count. A counter is a function of its terms, its state and the time alone; it changes the state it is
 * given, because a decision is made for every request and a copy costs more than the decision. The Lua scripts repeat
 * exactly these steps, and one suite compares both.
 */
export interface Counter<State> {
  start(terms: Terms): State
  /** Brings the state to that time. A clock that was set back stands still here. */
  advance(terms: Terms, state: State, nowMs: number): void
  /** Units that could be taken now; negative when more was used than there was. */
  remaining(terms: Terms, state: State): number
  /** Until so much can be taken if nobody else takes anything; infinite when it never can. */
  waitMs(terms: Terms, state: State, cost: number, nowMs: number): number
  /** Until all of it is there again, if nobody takes anything. */
  resetMs(terms: Terms, state: State, nowMs: number): number
  /** Takes `cost` for `entry.name` at `entry.atMs`. Returns when it is held to have been taken. */
  take(terms: Terms, state: State, cost: number, entry: Entry): number
  /** So much more, or less, was used than had been taken. */
  adjust(terms: Terms, state: State, entry: Entry, by: number): void
  /** Whether it is as good as new, and need not be kept. */
  isFresh(terms: Terms, state: State): boolean
}

/** A recorded or generated series of requests; what it does not know is undefined or empty. */
export interface Trace {
  readonly format: TraceFormat
  /** In the order of their arrival. */
  readonly requests: readonly TraceRequest[]
  /** What the calendar said at its beginning; undefined where it has no date. */
  readonly startedMs: number | undefined
  /** What in it was made up, in words for whoever reads a result. */
  readonly synthetic: readonly string[]
}

export type TraceFormat = 'azure' | 'mooncake' | 'servegen' | 'plain' | 'synthetic'

export interface TraceRequest {
  /** Since the beginning of the trace. */
  readonly arrivalMs: number
  readonly promptTokens: number
  readonly outputTokens: number
  readonly model: string | undefined
  readonly tenant: string | undefined
  readonly blocks: readonly number[]
}

/** How much of a trace is wanted. */
export interface TraceExtent {
  /** At most so many of a recorded one, about so many of one that is generated from rates. */
  readonly requests: number | undefined
  /** Where chance is needed. */
  readonly seed: number
}

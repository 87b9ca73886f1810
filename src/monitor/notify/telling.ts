import type { Clock } from '../../core/clock.ts'

/** What telling somebody takes beside the receiver and the notification. */
export interface Telling {
  readonly clock: Clock
  /** Where runbooks are read; undefined: by their path in the documents. */
  readonly runbookUrl: string | undefined
  /** Gives the attempt up, also half-way. */
  readonly signal: AbortSignal
}

import type { HelixError } from '../../core/errors.ts'

/** A message of a client, parsed as JSON and no further. */
export type Said = Readonly<Record<string, unknown>>

export interface DrainNotice {
  /** How long the connection is left open. */
  readonly deadlineMs: number
  /** When this client should come back. */
  readonly reconnectAfterMs: number
}

/** What is spoken on a connection: `/ws` has one, `/v1/responses` another. */
export interface Speaker {
  /**
   * A message, in the order in which they came. A promise is a request that waits for its answer; it never rejects.
   * @returns false when it could not be understood
   */
  message(said: Said): Promise<void> | boolean
  /** Tells the client of a failure. `said`: what failed, as far as it could be read */
  refuse(error: HelixError, said: Said | undefined): void
  /** Called every half second. */
  tick(nowMs: number): void
  /** The connection will be closed soon. */
  leaving(notice: DrainNotice): void
  /** A frame for everybody of the organisation. */
  announced(frame: Buffer): void
  /** Whether something goes on that the client follows; otherwise it is closed when it was idle for long. */
  readonly busy: boolean
  /** Streams that are on their way to it: a draining gateway waits for their end. */
  readonly streams: number
  /** The topics that it follows. */
  follows(): Iterable<string>
  /** The connection is over. */
  closed(): void
}

/** Something with frames to send, which waits until they can be sent. */
export interface Outlet {
  /**
   * The next frame; undefined when there is none: then it says by `Connection.ready` when there is one again.
   * @param joined what belongs together should go in one frame, for the client is slow
   */
  take(joined: boolean): Buffer | undefined
}

import type { Identity } from '../../contracts/auth.ts'
import type { Span } from '../../core/tracing.ts'
import type { Stream } from '../../streams/stream.ts'
import type { Presence } from '../dispatch/recipient.ts'
import type { Settlement } from '../dispatch/settlement.ts'

/** A stream that a client asks for. */
export interface CreateCall {
  /** The body, not checked yet. */
  readonly request: Readonly<Record<string, unknown>>
  readonly detachMs: number
  /** The id that the stream gets. */
  readonly streamId: string
  readonly requestId: string
  readonly identity: Identity
  readonly credential: string
  /** On the monotonic clock. */
  readonly startedMs: number
  readonly span: Span
  /** Whose leaving ends the wait for a turn. */
  readonly client: Presence
  /** What is known of it for the log, as soon as it is. */
  note(facts: { readonly model: string; readonly user: string | undefined }): void
}

export interface Created {
  readonly stream: Stream
  /** What it cost, once nothing of it runs any more. */
  readonly ended: Promise<Settlement | undefined>
}

/** Makes streams of one kind of message; each kind has its own. */
export interface Creator {
  readonly prefix: 'str' | 'resp'
  /** @throws HelixError when there will be no stream */
  create(call: CreateCall): Promise<Created>
}

/** By the type of the message. */
export type Creators = Readonly<Partial<Record<'chat.create' | 'response.create', Creator>>>

import type { HelixError } from '../../core/errors.ts'
import type { Answer } from '../dispatch/exchange.ts'

/** Writes what an engine says into a stream, in the terms of the interface that was asked. */
export interface Scribe {
  /** One chunk of a chat completion, as the engine's filtered event stream has it. */
  chunk(chunk: Answer): void
  /** The engine said that it is complete. */
  complete(): void
  /** It ends here, for this reason. Nothing comes after `complete` or `fail`. */
  fail(error: HelixError): void
  /** Resolves when its last event has been written, where that takes longer than `complete` and `fail`. */
  readonly written?: Promise<void>
}

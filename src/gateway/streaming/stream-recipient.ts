import { EventSplitter, eventData } from '../../contracts/sse.ts'
import { HelixError } from '../../core/errors.ts'
import type { Answer } from '../dispatch/exchange.ts'
import type { AnswerRecipient } from '../dispatch/recipient.ts'
import type { Scribe } from './scribe.ts'

/**
 * To the dispatcher a client that takes everything at once and never leaves; what it takes is written into a stream.
 * Whoever reads that stream may leave and come back.
 */
export class StreamRecipient implements AnswerRecipient {
  readonly gone = false
  committed = false
  private readonly splitter = new EventSplitter(Number.POSITIVE_INFINITY)

  constructor(
    private readonly scribe: Scribe,
    /** Told why nothing comes yet. */
    private readonly notice: (text: string) => void = () => {},
  ) {}

  whenGone(): () => void {
    return () => {}
  }

  write(bytes: Buffer): boolean {
    this.committed = true
    for (const event of this.splitter.push(bytes) ?? []) {
      const data = eventData(event)
      if (data === '[DONE]') this.scribe.complete()
      else if (data !== undefined) this.scribe.chunk(parseChunk(data))
    }
    return true
  }

  endWith(bytes: Buffer): void {
    this.write(bytes)
  }

  fail(error: HelixError): void {
    this.scribe.fail(error)
  }

  whole(): void {
    throw new HelixError('internal_error', 'Internal error.', { internal: 'a stream got a whole answer' })
  }

  comment(text: string): void {
    this.notice(text)
  }

  drained(): void {}
  end(): void {}
  leave(): void {}
}

/** Whole events with braces around are passed on without being read: another's server may have written anything. */
function parseChunk(data: string): Answer {
  try {
    return JSON.parse(data) as Answer
  } catch (cause) {
    throw new HelixError('upstream_invalid_response', 'The engine sent an event that cannot be read.', {
      cause,
    })
  }
}

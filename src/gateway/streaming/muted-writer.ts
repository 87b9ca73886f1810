import type { Stream, StreamHead, StreamWriter } from '../../streams/stream.ts'
import type { StreamEvent } from '../../streams/stream-event.ts'

/**
 * For a scribe that is told a stream's beginning once more, so that it knows where it stands: what it writes of that is
 * in the stream already.
 */
export class MutedWriter implements StreamWriter {
  nextSeq = 1
  private readonly lastKnown: number

  constructor(private readonly writer: StreamWriter) {
    this.lastKnown = writer.nextSeq - 1
  }

  /** Whether it has caught up: no more and no less was written than is there. */
  get isLevel(): boolean {
    return this.nextSeq === this.lastKnown + 1
  }

  get head(): StreamHead {
    return this.writer.head
  }

  get stream(): Stream {
    return this.writer.stream
  }

  append(kind: StreamEvent['kind'], data: string): void {
    if (this.nextSeq++ > this.lastKnown) this.writer.append(kind, data)
  }

  discard(): Promise<void> {
    return this.writer.discard()
  }
}

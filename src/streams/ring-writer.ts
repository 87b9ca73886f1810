import type { RingStream, StreamHead, StreamWriter } from './stream.ts'
import type { StreamEvent } from './stream-event.ts'

/** Numbers the events of one stream. */
export class RingWriter implements StreamWriter {
  nextSeq: number

  constructor(
    readonly stream: RingStream,
    private readonly store: { publish(event: StreamEvent): void; discard(): Promise<void> },
  ) {
    this.nextSeq = stream.lastSeq + 1
  }

  get head(): StreamHead {
    return this.stream.head
  }

  append(kind: StreamEvent['kind'], data: string): void {
    this.store.publish({ seq: this.nextSeq++, kind, data })
  }

  discard(): Promise<void> {
    return this.store.discard()
  }
}

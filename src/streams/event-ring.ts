import type { StreamEvent } from './stream-event.ts'

export interface RingBounds {
  readonly eventsMax: number
  readonly bytesMax: number
}

/** What an event takes beside its text. */
const EVENT_OVERHEAD_BYTES = 64

/** The newest events of one stream, in order and without gaps; the oldest go when there are too many. */
export class EventRing {
  /** Dropped ones leave their place empty until it is taken away, so that they keep no memory. */
  private events: (StreamEvent | undefined)[] = []
  /** Place of the oldest in `events`; those before it are gone. */
  private head = 0
  private bytes = 0

  constructor(private readonly bounds: RingBounds) {}

  /** Number of the oldest that is kept; one more than `last` when there is none. */
  get first(): number {
    return this.events[this.head]?.seq ?? this.last + 1
  }

  /** Number of the newest that there was; 0 before the first. */
  get last(): number {
    return this.events.at(-1)?.seq ?? 0
  }

  get sizeBytes(): number {
    return this.bytes
  }

  push(event: StreamEvent): void {
    this.events.push(event)
    this.bytes += sizeOf(event)
    const { eventsMax, bytesMax } = this.bounds
    // The newest always stays, however large: it is what everybody waits for.
    while (this.head < this.events.length - 1 && (this.bytes > bytesMax || this.kept > eventsMax)) this.drop()
    if (this.head > 1_024 && this.head > this.events.length / 2) this.compact()
  }

  at(seq: number): StreamEvent | undefined {
    return seq < this.first ? undefined : this.events[this.head + seq - this.first]
  }

  private get kept(): number {
    return this.events.length - this.head
  }

  private drop(): void {
    const oldest = this.events[this.head]
    if (oldest) this.bytes -= sizeOf(oldest)
    this.events[this.head++] = undefined
  }

  private compact(): void {
    this.events = this.events.slice(this.head)
    this.head = 0
  }
}

function sizeOf({ data }: StreamEvent): number {
  return 2 * data.length + EVENT_OVERHEAD_BYTES
}

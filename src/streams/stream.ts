import type { HelixError } from '../core/errors.ts'
import type { EventRing } from './event-ring.ts'
import { isLast, type StreamEvent, type Unrecoverable } from './stream-event.ts'

/** What is known of a stream from its beginning, wherever it is read. */
export interface StreamHead {
  /** `str_` or `resp_` and 32 hexadecimal digits. */
  readonly id: string
  /** Names the life of its buffer. */
  readonly epoch: string
  /** The organisation that may read it, and nobody else. */
  readonly tenant: string
  readonly projectId: string
  readonly kind: 'chat' | 'response'
  readonly requestId: string
  readonly model: string
  readonly createdAtMs: number
  /** Whether a reader over HTTP gets the usage chunk. */
  readonly includeUsage: boolean
  /** How long it goes on while nobody reads it; Infinity: to its end. */
  readonly detachMs: number
  /**
   * JSON text of what another gateway needs to go on with it. Kept only where several gateways share it, and given only to
   * the one that takes it over.
   */
  readonly again?: string | undefined
}

/** An epoch that ended when another gateway took the stream over, and the last number in it. */
export interface EarlierEpoch {
  readonly epoch: string
  readonly seq: number
}

/** Who reads a stream. */
export interface Reader {
  /**
   * There is more. Called once after each time that `next` had nothing to give, and perhaps before the first `next`; never
   * from within `next`, never after `close`.
   */
  ready(): void
  /** What comes next is not kept any more; the cursor is closed. */
  lost(reason: Unrecoverable): void
}

/** A reader's place in a stream. */
export interface Cursor {
  /** Number of the event that `next` gives. */
  readonly nextSeq: number
  /** The next event, without moving on. */
  peek(): StreamEvent | undefined
  /** The next event; undefined when there is none yet, or when the last was given. */
  next(): StreamEvent | undefined
  /** The reader has everything up to this number for good. */
  acknowledge(seq: number): void
  close(): void
}

/** One stream as its readers in this process see it. */
export interface Stream {
  /** Its epoch changes when another gateway takes the stream over: to be read anew for each event that is sent. */
  readonly head: StreamHead
  /** Number of the newest event that may be shown. */
  readonly lastSeq: number
  readonly ended: boolean
  /**
   * @param afterSeq what the reader has; 0: nothing
   * @param epoch of what the reader has: also an earlier one, as far as that went; not compared when left out
   */
  open(afterSeq: number, reader: Reader, epoch?: string): Cursor | Unrecoverable
}

/** The producer's end of a stream. */
export interface StreamWriter {
  readonly head: StreamHead
  /** Number that the next event will have. */
  readonly nextSeq: number
  append(kind: StreamEvent['kind'], data: string): void
  /** Takes back a stream that nobody has been told of. */
  discard(): Promise<void>
  /** The same stream, for a reader beside its producer. */
  readonly stream: Stream
}

/** What makes the events, and can be told to stop. */
export interface Producer {
  cancel(reason: HelixError): void
}

/** Streams of all tenants, in this process or shared between gateways. */
export interface StreamStore {
  /**
   * Begins a stream whose producer is here; resolves when it can be found everywhere. It is cancelled when nobody has
   * read it for its `detachMs`.
   */
  create(head: StreamHead, producer: Producer): Promise<StreamWriter>
  /** @returns `not_found` also for another tenant's */
  find(tenant: string, id: string): Promise<Stream | Extract<Unrecoverable, 'not_found' | 'expired'>>
  /**
   * Ends a stream wherever its producer is. @returns false when there is none, or it has ended
   */
  cancel(tenant: string, id: string, reason: HelixError): Promise<boolean>
  /** Whoever comes first with a name within ten minutes gets their own id, others that one. */
  claim(tenant: string, name: string, id: string): Promise<string>
  /** The name is free again: what it stood for did not come about. */
  release(tenant: string, name: string): Promise<void>
  /** Streams whose producer is here and that have not ended. */
  readonly producing: number
  stop(): Promise<void>
}

/** Told when the first reader comes, when the last has left, and when one has the last event for good. */
export interface RingWatcher {
  attended(isAttended: boolean): void
  read(): void
}

/** A stream out of a ring: what both kinds of store give their readers. */
export class RingStream implements Stream {
  ended = false
  /** Number of the newest event that is on its way to be shown: a reader who comes from elsewhere may have been faster. */
  comingSeq = 0
  private readonly cursors = new Set<RingCursor>()
  private earlier: readonly EarlierEpoch[] = []
  private lost: Unrecoverable | undefined

  constructor(
    public head: StreamHead,
    private readonly ring: EventRing,
    private watcher: RingWatcher,
  ) {}

  get firstSeq(): number {
    return this.ring.first
  }

  get lastSeq(): number {
    return this.ring.last
  }

  /** How many read it at the moment, in this process. */
  get readers(): number {
    return this.cursors.size
  }

  at(seq: number): StreamEvent | undefined {
    return this.ring.at(seq)
  }

  /** Shows an event to all readers. */
  show(event: StreamEvent): void {
    this.ring.push(event)
    if (isLast(event)) this.ended = true
    for (const cursor of [...this.cursors]) cursor.shown()
  }

  open(afterSeq: number, reader: Reader, epoch?: string): Cursor | Unrecoverable {
    if (this.lost) return this.lost
    if (epoch !== undefined && !this.continues(epoch, afterSeq)) return 'epoch'
    const newest = Math.max(this.ring.last, this.comingSeq)
    if (afterSeq > newest || afterSeq < this.ring.first - 1) return 'gap'
    const cursor = new RingCursor(this.ring, afterSeq + 1, reader, {
      closed: (one) => this.leave(one),
      acknowledged: (seq) => {
        if (this.ended && seq >= this.ring.last) this.watcher.read()
      },
    })
    this.cursors.add(cursor)
    if (this.cursors.size === 1) this.watcher.attended(true)
    return cursor
  }

  /** What follows will never come. */
  lose(reason: Unrecoverable): void {
    this.lost ??= reason
    for (const cursor of [...this.cursors]) cursor.lose(reason)
  }

  /** Another gateway makes the events from here on. */
  renew(head: StreamHead, earlier: readonly EarlierEpoch[]): void {
    this.head = head
    this.earlier = earlier
  }

  /** From here on somebody else is told of its readers. */
  watch(watcher: RingWatcher): void {
    this.watcher = watcher
  }

  private continues(epoch: string, seq: number): boolean {
    if (epoch === this.head.epoch) return true
    return this.earlier.some((one) => one.epoch === epoch && seq <= one.seq)
  }

  private leave(cursor: RingCursor): void {
    if (this.cursors.delete(cursor) && this.cursors.size === 0) this.watcher.attended(false)
  }
}

class RingCursor implements Cursor {
  private waiting = true
  private closed = false

  constructor(
    private readonly ring: EventRing,
    public nextSeq: number,
    private readonly reader: Reader,
    private readonly owner: { closed(cursor: RingCursor): void; acknowledged(seq: number): void },
  ) {}

  peek(): StreamEvent | undefined {
    if (this.closed) return undefined
    const event = this.ring.at(this.nextSeq)
    if (!event) this.waiting = true
    return event
  }

  next(): StreamEvent | undefined {
    const event = this.peek()
    if (event) this.nextSeq++
    return event
  }

  acknowledge(seq: number): void {
    if (!this.closed) this.owner.acknowledged(seq)
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.owner.closed(this)
  }

  shown(): void {
    // A reader that was told before this one may have closed it.
    if (this.closed) return
    if (this.nextSeq < this.ring.first) this.lose('gap')
    else if (this.waiting) {
      this.waiting = false
      this.reader.ready()
    }
  }

  lose(reason: Unrecoverable): void {
    if (this.closed) return
    this.close()
    this.reader.lost(reason)
  }
}

import type { Outbox, Parcel, Sender } from './outbox.ts'
import { RingWriter } from './ring-writer.ts'
import type { RingStream } from './stream.ts'
import { isLast, type StreamEvent } from './stream-event.ts'
import type { StreamKeys } from './stream-keys.ts'

export interface SharedStreamParts {
  readonly stream: RingStream
  readonly keys: StreamKeys
  readonly outbox: Outbox
  /** Whether Redis takes nothing at the moment. */
  readonly isAway: () => boolean
  readonly owner: SharedStreamOwner
}

/** Told what becomes of a stream. */
export interface SharedStreamOwner {
  /** The last event was shown. */
  ended(stream: SharedStream): void
  /** Another gateway goes on with it. */
  moved(stream: SharedStream): void
  /** What Redis has of it is of no use any more. */
  withdraw(stream: SharedStream): void
  discard(stream: SharedStream): Promise<void>
  /** Somebody at another gateway wants it to end. */
  cancelled(stream: SharedStream, reason: string): void
  /** Redis did not answer in time. */
  failed(): void
}

/**
 * A stream whose producer is at this gateway. While Redis answers, its events are shown when Redis has them. While it
 * does not, they are shown at once, and sent later; where Redis has lost what came before, or this gateway has, the stream
 * goes on alone: for its own readers, and for nobody elsewhere.
 */
export class SharedStream implements Sender {
  readonly writer: RingWriter
  /** `shared`: as Redis has it; `ahead`: shown here and still to be sent; `alone`: never to be sent; `moved`: over here. */
  private state: 'shared' | 'ahead' | 'alone' | 'moved' = 'shared'
  /** What Redis has not confirmed, in order. */
  private queue: StreamEvent[] = []
  private isCancelled = false

  constructor(private readonly parts: SharedStreamParts) {
    this.writer = new RingWriter(parts.stream, {
      publish: (event) => this.publish(event),
      discard: () => parts.owner.discard(this),
    })
  }

  get stream(): RingStream {
    return this.parts.stream
  }

  get keys(): StreamKeys {
    return this.parts.keys
  }

  /** Whether it can be read at other gateways, now or when Redis is back. */
  get isShared(): boolean {
    return this.state === 'shared' || this.state === 'ahead'
  }

  parcel(eventsMax: number): Parcel | undefined {
    if (!this.isShared || this.queue.length === 0 || this.parts.isAway()) return undefined
    const { keys, stream } = this.parts
    return { keys, events: this.queue.slice(0, eventsMax), leastSeq: stream.firstSeq }
  }

  sent(last: number, cancel: string): void {
    if (!this.isShared) return
    // Where more was shown here than Redis has, another gateway goes on with something else: in another epoch.
    if (last === -2 && this.state === 'shared') this.move()
    else if (last < 0) this.goAlone()
    else this.confirmed(last, cancel)
  }

  failed(): void {
    this.parts.owner.failed()
    this.away()
  }

  /** Redis does not answer: nobody here waits for it. */
  away(): void {
    if (this.state !== 'shared' || this.queue.length === 0) return
    this.state = 'ahead'
    this.show([...this.queue])
  }

  /** Redis answers again. */
  back(): void {
    if (this.queue.length > 0) this.parts.outbox.add(this)
  }

  /** Redis never heard of it, and is not to. */
  goAlone(): void {
    this.state = 'alone'
    this.show(this.queue.splice(0))
  }

  private confirmed(last: number, cancel: string): void {
    const open = this.queue.findIndex(({ seq }) => seq > last)
    this.show(this.queue.splice(0, open === -1 ? this.queue.length : open))
    if (!this.refill(last)) {
      this.withdraw()
      return
    }
    if (this.queue.length > 0) this.parts.outbox.add(this)
    else this.state = 'shared'
    if (cancel === '' || this.isCancelled) return
    this.isCancelled = true
    this.parts.owner.cancelled(this, cancel)
  }

  private publish(event: StreamEvent): void {
    if (this.state === 'moved') return
    if (this.state === 'alone') {
      this.show([event])
      return
    }
    this.queue.push(event)
    this.stream.comingSeq = event.seq
    const isAway = this.parts.isAway()
    if (!isAway) this.parts.outbox.add(this)
    if (this.state === 'ahead') this.show([event])
    else if (isAway) this.away()
    else return
    // What was dropped here before it was sent would be missing there.
    if ((this.queue[0]?.seq ?? 0) < this.stream.firstSeq) this.withdraw()
  }

  private withdraw(): void {
    this.parts.owner.withdraw(this)
    this.goAlone()
  }

  private show(events: readonly StreamEvent[]): void {
    const { stream, owner } = this.parts
    for (const event of events) {
      if (event.seq <= stream.lastSeq) continue
      stream.show(event)
      if (isLast(event)) owner.ended(this)
    }
  }

  /** A server that took over may lack what the last one had confirmed. @returns false when it cannot be sent again */
  private refill(last: number): boolean {
    const { stream } = this.parts
    const before: StreamEvent[] = []
    for (let seq = last + 1; seq < (this.queue[0]?.seq ?? stream.lastSeq + 1); seq++) {
      const event = stream.at(seq)
      if (!event) return false
      before.push(event)
    }
    this.queue.unshift(...before)
    return true
  }

  private move(): void {
    this.state = 'moved'
    this.queue = []
    this.parts.owner.moved(this)
  }
}

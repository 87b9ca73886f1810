import type { Cursor, Reader, Stream, StreamHead } from '../../streams/stream.ts'
import { isLast, type StreamEvent, type Unrecoverable } from '../../streams/stream-event.ts'
import type { Connection } from './connection.ts'
import { type SharedFrames, textFrame } from './frames.ts'
import { eventText, joinedText } from './message-frames.ts'
import type { Outlet } from './speaker.ts'
import type { Tally } from './tally.ts'

/** Text that one joined frame holds at most, in characters; the last piece may go over it. */
const JOINED_TEXT_MAX = 16 * 1024

export interface OutletOwner {
  readonly connection: Connection
  readonly frames: SharedFrames
  readonly tally: Tally
  /** It is read from here on. Returns what ends that. */
  reads(stream: string): () => void
  /** What comes next is not kept any more. */
  lost(outlet: StreamOutlet, reason: Unrecoverable): void
}

/** What a client has of a stream; without an epoch, nothing. */
export interface Has {
  readonly seq: number
  readonly epoch?: string
}

interface Delta {
  readonly text: string
  readonly choice?: number
}

/** One stream on its way to one connection: it pulls what the connection takes, and the rest waits in the stream. */
export class StreamOutlet implements Outlet, Reader {
  /** The last event was sent. */
  isOver = false
  private cursor: Cursor | undefined
  private endReading = () => {}
  private isBegun = false
  /** What became of it before it began. */
  private lostBefore: Unrecoverable | undefined

  private constructor(
    private readonly stream: Stream,
    private readonly owner: OutletOwner,
  ) {}

  static open(stream: Stream, has: Has, owner: OutletOwner): StreamOutlet | Unrecoverable {
    const outlet = new StreamOutlet(stream, owner)
    const cursor = stream.open(has.seq, outlet, has.epoch)
    if (typeof cursor === 'string') return cursor
    outlet.cursor = cursor
    outlet.endReading = owner.reads(stream.head.id)
    return outlet
  }

  /** Of this moment: its epoch changes when another gateway takes the stream over. */
  get head(): StreamHead {
    return this.stream.head
  }

  /** Its client has been told that it comes: nothing of it goes out before. */
  begin(): void {
    this.isBegun = true
    if (this.lostBefore) this.owner.lost(this, this.lostBefore)
    else this.owner.connection.ready(this)
  }

  ready(): void {
    if (this.isBegun) this.owner.connection.ready(this)
  }

  lost(reason: Unrecoverable): void {
    if (this.isBegun) this.owner.lost(this, reason)
    else this.lostBefore = reason
  }

  take(joined: boolean): Buffer | undefined {
    const event = this.cursor?.next()
    if (!event) return undefined
    this.owner.tally.add('out', `stream.${event.kind}`)
    if (isLast(event)) this.isOver = true
    const more = joined && event.kind === 'delta' ? this.join(event) : undefined
    return more ?? this.owner.frames.of(event, () => eventText(this.head, event))
  }

  /** The client has everything up to this number, of what it was sent. */
  acknowledge(seq: number): void {
    if (this.cursor && seq < this.cursor.nextSeq) this.cursor.acknowledge(seq)
  }

  close(): void {
    this.owner.connection.forget(this)
    this.cursor?.close()
    this.endReading()
  }

  /** @returns undefined when nothing that follows can be joined with it */
  private join(first: StreamEvent): Buffer | undefined {
    const { text, choice } = JSON.parse(first.data) as Delta
    let all = text
    let lastSeq = first.seq
    for (;;) {
      const next = all.length < JOINED_TEXT_MAX ? this.cursor?.peek() : undefined
      if (next?.kind !== 'delta') break
      const more = JSON.parse(next.data) as Delta
      if (more.choice !== choice) break
      all += more.text
      lastSeq = next.seq
      this.cursor?.next()
    }
    if (lastSeq === first.seq) return undefined
    return textFrame(joinedText(this.head, { seq: first.seq, lastSeq, text: all, choice }))
  }
}

import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { EventRing, type RingBounds } from './event-ring.ts'
import {
  type Producer,
  RingStream,
  type Stream,
  type StreamHead,
  type StreamStore,
  type StreamWriter,
} from './stream.ts'
import { isLast, type StreamEvent } from './stream-event.ts'

export interface StreamStoreOptions extends RingBounds {
  /** How long a stream is kept after its end. */
  readonly keepMs: number
  readonly clock: Clock
}

/** A stream that nobody has begun to read gets at least so long. */
const FIRST_READER_MS = 30_000
const CLAIM_MS = 600_000
const FORGOTTEN_AFTER_MS = 600_000

interface Kept {
  readonly stream: RingStream
  readonly producer: Producer
  cancelTimer: () => void
}

/** Streams of a gateway that is the only one. */
export class MemoryStreams implements StreamStore {
  private readonly streams = new Map<string, Kept>()
  /** Who they belonged to, of streams whose time is over. */
  private readonly gone = new Map<string, string>()
  private readonly claims = new Map<string, string>()

  constructor(private readonly options: StreamStoreOptions) {}

  get producing(): number {
    return [...this.streams.values()].filter(({ stream }) => !stream.ended).length
  }

  async create(head: StreamHead, producer: Producer): Promise<StreamWriter> {
    const stream = new RingStream(head, new EventRing(this.options), {
      attended: (isAttended) => this.attended(kept, isAttended),
      read: () => {
        if ((head.kind === 'chat' || head.detachMs === 0) && stream.readers <= 1) this.forget(kept)
      },
    })
    const kept: Kept = { stream, producer, cancelTimer: () => {} }
    this.streams.set(head.id, kept)
    this.abandonLater(kept, Math.max(head.detachMs, FIRST_READER_MS))
    return new RingWriter(stream, {
      publish: (event) => {
        stream.show(event)
        if (isLast(event)) this.ended(kept)
      },
      discard: async () => {
        kept.cancelTimer()
        this.streams.delete(head.id)
      },
    })
  }

  async find(tenant: string, id: string): Promise<Stream | 'not_found' | 'expired'> {
    const kept = this.streams.get(id)
    if (kept) return kept.stream.head.tenant === tenant ? kept.stream : 'not_found'
    return this.gone.get(id) === tenant ? 'expired' : 'not_found'
  }

  async cancel(tenant: string, id: string, reason: HelixError): Promise<boolean> {
    const kept = this.streams.get(id)
    if (!kept || kept.stream.head.tenant !== tenant || kept.stream.ended) return false
    kept.producer.cancel(reason)
    return true
  }

  async claim(tenant: string, name: string, id: string): Promise<string> {
    const key = `${tenant}/${name}`
    const known = this.claims.get(key)
    if (known !== undefined) return known
    this.claims.set(key, id)
    this.options.clock.schedule(CLAIM_MS, () => this.claims.delete(key))
    return id
  }

  async release(tenant: string, name: string): Promise<void> {
    this.claims.delete(`${tenant}/${name}`)
  }

  async stop(): Promise<void> {
    for (const { cancelTimer } of this.streams.values()) cancelTimer()
    this.streams.clear()
  }

  private attended(kept: Kept, isAttended: boolean): void {
    if (kept.stream.ended) return
    kept.cancelTimer()
    if (isAttended) return
    const { detachMs } = kept.stream.head
    if (detachMs === 0) this.abandon(kept)
    else this.abandonLater(kept, detachMs)
  }

  private abandonLater(kept: Kept, afterMs: number): void {
    if (afterMs === Number.POSITIVE_INFINITY) return
    kept.cancelTimer = this.options.clock.schedule(afterMs, () => this.abandon(kept))
  }

  private abandon({ stream, producer }: Kept): void {
    if (stream.ended || stream.readers > 0) return
    producer.cancel(new HelixError('client_closed_request', 'Nobody reads this stream any more.'))
  }

  private ended(kept: Kept): void {
    kept.cancelTimer()
    // A reader may have acknowledged it while it was shown.
    if (!this.streams.has(kept.stream.head.id)) return
    kept.cancelTimer = this.options.clock.schedule(this.options.keepMs, () => this.forget(kept))
  }

  private forget(kept: Kept): void {
    kept.cancelTimer()
    const { id, tenant, detachMs } = kept.stream.head
    if (!this.streams.delete(id)) return
    kept.stream.lose('expired')
    // Nobody was promised that it could be read again; and there may be very many.
    if (detachMs === 0) return
    this.gone.set(id, tenant)
    this.options.clock.schedule(FORGOTTEN_AFTER_MS, () => this.gone.delete(id))
  }
}

/** Numbers the events of one stream. */
export class RingWriter implements StreamWriter {
  nextSeq = 1

  constructor(
    readonly stream: RingStream,
    private readonly store: { publish(event: StreamEvent): void; discard(): Promise<void> },
  ) {}

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

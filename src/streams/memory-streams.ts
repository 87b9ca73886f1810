import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { Attendance } from './attendance.ts'
import { EventRing, type RingBounds } from './event-ring.ts'
import { claimName, MemoryClaims } from './memory-claims.ts'
import { RingWriter } from './ring-writer.ts'
import {
  type Producer,
  RingStream,
  type Stream,
  type StreamHead,
  type StreamStore,
  type StreamWriter,
} from './stream.ts'
import { isLast } from './stream-event.ts'
import { Tombstones } from './tombstones.ts'

export interface StreamStoreOptions extends RingBounds {
  /** How long a stream is kept after its end. */
  readonly keepMs: number
  readonly clock: Clock
}

interface Kept {
  readonly stream: RingStream
  readonly producer: Producer
  readonly attendance: Attendance
  cancelTimer: () => void
}

/** Streams of a gateway that is the only one. */
export class MemoryStreams implements StreamStore {
  private readonly streams = new Map<string, Kept>()
  private readonly gone: Tombstones
  private readonly claims: MemoryClaims

  constructor(private readonly options: StreamStoreOptions) {
    this.gone = new Tombstones(options.clock)
    this.claims = new MemoryClaims(options.clock)
  }

  get producing(): number {
    return [...this.streams.values()].filter(({ stream }) => !stream.ended).length
  }

  async create({ again: _, ...head }: StreamHead, producer: Producer): Promise<StreamWriter> {
    const stream = new RingStream(head, new EventRing(this.options), {
      attended: (isAttended) => kept.attendance.attended(isAttended),
      read: () => {
        if ((head.kind === 'chat' || head.detachMs === 0) && stream.readers <= 1) this.forget(kept)
      },
    })
    const { clock } = this.options
    const attendance = new Attendance({ clock, detachMs: head.detachMs, abandon: () => abandon(producer) })
    const kept: Kept = { stream, producer, attendance, cancelTimer: () => {} }
    this.streams.set(head.id, kept)
    return new RingWriter(stream, {
      publish: (event) => {
        stream.show(event)
        if (isLast(event)) this.ended(kept)
      },
      discard: async () => {
        attendance.end()
        this.streams.delete(head.id)
      },
    })
  }

  async find(tenant: string, id: string): Promise<Stream | 'not_found' | 'expired'> {
    const kept = this.streams.get(id)
    if (kept) return kept.stream.head.tenant === tenant ? kept.stream : 'not_found'
    return this.gone.reason(tenant, id)
  }

  async cancel(tenant: string, id: string, reason: HelixError): Promise<boolean> {
    const kept = this.streams.get(id)
    if (!kept || kept.stream.head.tenant !== tenant || kept.stream.ended) return false
    kept.producer.cancel(reason)
    return true
  }

  async claim(tenant: string, name: string, id: string): Promise<string> {
    return this.claims.claim(claimName(tenant, name), id)
  }

  async release(tenant: string, name: string): Promise<void> {
    this.claims.release(claimName(tenant, name))
  }

  async stop(): Promise<void> {
    for (const { attendance, cancelTimer } of this.streams.values()) {
      attendance.end()
      cancelTimer()
    }
    this.streams.clear()
  }

  private ended(kept: Kept): void {
    kept.attendance.end()
    // A reader may have acknowledged it while it was shown.
    if (!this.streams.has(kept.stream.head.id)) return
    kept.cancelTimer = this.options.clock.schedule(this.options.keepMs, () => this.forget(kept))
  }

  private forget(kept: Kept): void {
    kept.cancelTimer()
    const { id, tenant, detachMs } = kept.stream.head
    if (!this.streams.delete(id)) return
    kept.stream.lose('expired')
    // Where nobody was promised that it could be read again there may be very many.
    if (detachMs > 0) this.gone.add(id, tenant)
  }
}

/** Tells whoever makes a stream that it makes it for nobody. */
export function abandon(producer: Producer): void {
  producer.cancel(new HelixError('client_closed_request', 'Nobody reads this stream any more.'))
}

import type { Identity } from '../../contracts/auth.ts'
import { may } from '../../contracts/permissions.ts'
import type { ClientMessage, Recovery, ResumeRefusal } from '../../contracts/realtime.ts'
import { type Clock, delay } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Stream, StreamStore } from '../../streams/stream.ts'
import type { Unrecoverable } from '../../streams/stream-event.ts'
import type { Presence } from '../dispatch/recipient.ts'
import { type Drain, drainingError } from '../drain.ts'
import { makeRequestId } from '../hooks/request-id.ts'
import type { StreamReaders } from '../streaming/stream-readers.ts'
import { makeStreamId } from '../streaming/stream-runs.ts'
import { STREAMS_MAX } from './connection-limits.ts'
import type { Created, Creator, Creators } from './creator.ts'
import { type GenerationLog, type LoggedGeneration, logGeneration } from './generation-log.ts'
import type { SocketCaller } from './socket-caller.ts'
import { type Has, type OutletOwner, StreamOutlet } from './stream-outlet.ts'

export interface SessionStreamsParts extends GenerationLog {
  readonly store: StreamStore
  readonly creators: Creators
  readonly drain: Drain
  readonly clock: Clock
  readonly readers: StreamReaders
}

type CreateMessage = Extract<ClientMessage, { type: 'chat.create' | 'response.create' }>

interface Position {
  readonly stream: string
  readonly epoch: string
  readonly seq: number
}

/** A stream that is about to be sent; nothing of it is, before `begin`. */
export interface Attached {
  readonly stream: Stream
  begin(): void
}

/** How long the same create, sent twice, waits for the first one to be let in. */
const TWIN_WAIT_MS = 2_000
const TWIN_BEAT_MS = 50
/** Ended streams of a connection whose acknowledgement may still come. */
const ENDED_MAX = 64

/** The streams that one connection makes, follows and ends. */
export class SessionStreams {
  private readonly outlets = new Map<string, StreamOutlet>()
  private beginning = 0

  constructor(
    private readonly parts: SessionStreamsParts,
    private readonly caller: SocketCaller,
    private readonly owner: Omit<OutletOwner, 'lost' | 'reads'> & {
      readonly presence: Presence
      lost(stream: string, reason: Unrecoverable): void
    },
  ) {}

  /** Streams on their way. */
  get live(): number {
    let live = 0
    for (const { isOver } of this.outlets.values()) if (!isOver) live++
    return live
  }

  /** @throws HelixError as the creator, and `concurrency_limit_exceeded`, `server_draining`, `stream_unrecoverable` */
  async create(message: CreateMessage): Promise<Attached> {
    const creator = this.parts.creators[message.type]
    if (!creator) throw new HelixError('not_implemented', `'${message.type}' is not served here.`)
    if (this.parts.drain.draining) throw drainingError()
    this.checkRoom()
    this.beginning++
    try {
      const identity = await this.caller.identify()
      const name = `${identity.keyId ?? identity.actor}/${message.id}`
      const streamId = makeStreamId(creator.prefix)
      const claimed = await this.parts.store.claim(identity.organisationId, name, streamId)
      if (claimed !== streamId) return this.attach(await this.twin(identity, claimed))
      const { stream } = await this.begin(creator, message, { identity, name, streamId })
      return this.attach(stream)
    } finally {
      this.beginning--
    }
  }

  /** @throws HelixError `concurrency_limit_exceeded`, and those of `SocketCaller.identify` */
  async recover({ stream: id, epoch, seq }: Position): Promise<Attached | Unrecoverable> {
    if (this.outlets.has(id)) return this.reopen(id, { seq, epoch })
    this.checkRoom()
    this.beginning++
    try {
      return await this.reopen(id, { seq, epoch })
    } finally {
      this.beginning--
    }
  }

  /** @throws HelixError `not_found` */
  async cancel(id: string): Promise<void> {
    const identity = await this.caller.identify()
    const found = await this.find(identity, id)
    if (typeof found === 'string') throw noSuchStream()
    const reason = new HelixError('client_closed_request', 'The client cancelled it.')
    await this.parts.store.cancel(identity.organisationId, id, reason)
  }

  acknowledge(id: string, seq: number): void {
    const outlet = this.outlets.get(id)
    outlet?.acknowledge(seq)
    if (outlet?.isOver) this.drop(id, outlet)
  }

  /** @throws HelixError `not_found` */
  leave(id: string): void {
    const outlet = this.outlets.get(id)
    if (!outlet) throw noSuchStream()
    this.drop(id, outlet)
  }

  stop(): void {
    for (const [id, outlet] of this.outlets) this.drop(id, outlet)
  }

  private async begin(
    creator: Creator,
    message: CreateMessage,
    { identity, name, streamId }: { readonly identity: Identity; name: string; streamId: string },
  ): Promise<Created> {
    const { clock, store, requests } = this.parts
    const logged: LoggedGeneration = {
      requestId: makeRequestId(),
      clientRequest: message.id,
      route: `/ws ${message.type}`,
      identity,
      startedMs: clock.monotonic(),
    }
    requests.began()
    try {
      const created = await creator.create({
        request: message.request,
        detachMs: message.detach_ms,
        streamId,
        requestId: logged.requestId,
        identity,
        credential: this.caller.credential,
        startedMs: logged.startedMs,
        client: this.owner.presence,
        note: (facts) => Object.assign(logged, facts),
      })
      void created.ended.then((settlement) =>
        logGeneration(this.parts, logged, { nowMs: clock.monotonic(), settlement }),
      )
      return created
    } catch (failure) {
      await store.release(identity.organisationId, name)
      logGeneration(this.parts, logged, { nowMs: clock.monotonic(), settlement: undefined, failure })
      throw failure
    }
  }

  private async reopen(id: string, has: Has): Promise<Attached | Unrecoverable> {
    const found = await this.find(await this.caller.identify(), id)
    return typeof found === 'string' ? found : this.open(found, has)
  }

  /** The stream of the same message, sent before; it may not have been let in yet. */
  private async twin(identity: Identity, id: string): Promise<Stream> {
    const { clock } = this.parts
    const endMs = clock.monotonic() + TWIN_WAIT_MS
    for (;;) {
      const found = await this.find(identity, id)
      if (typeof found !== 'string') return found
      if (found === 'expired') throw unrecoverable(found)
      if (clock.monotonic() >= endMs)
        throw new HelixError('idempotency_in_progress', 'The same request is still on its way.', {
          retryAfterMs: 500,
        })
      await delay(clock, TWIN_BEAT_MS)
    }
  }

  private async find(identity: Identity, id: string): Promise<Stream | Unrecoverable> {
    const found = await this.parts.store.find(identity.organisationId, id)
    if (typeof found === 'string') return found
    return may(identity.rights, 'inference', found.head.projectId) ? found : 'not_found'
  }

  private attach(stream: Stream): Attached {
    const attached = this.open(stream, { seq: 0 })
    if (typeof attached === 'string') throw unrecoverable(attached)
    return attached
  }

  private open(stream: Stream, has: Has): Attached | Unrecoverable {
    const { owner } = this
    const { id } = stream.head
    const outlet = StreamOutlet.open(stream, has, {
      ...owner,
      reads: (one) => this.parts.readers.begin(one, this.caller),
      lost: (one, reason) => this.lost(one, reason),
    })
    if (typeof outlet === 'string') return outlet
    // Only now, so that the stream is never without a reader: without one it may be cancelled.
    this.outlets.get(id)?.close()
    this.outlets.delete(id)
    if (owner.presence.gone) {
      outlet.close()
      return { stream, begin: () => {} }
    }
    this.makeRoom()
    this.outlets.set(id, outlet)
    return { stream, begin: () => outlet.begin() }
  }

  private lost(outlet: StreamOutlet, reason: Unrecoverable): void {
    const { id } = outlet.head
    this.drop(id, outlet)
    if (!outlet.isOver) this.owner.lost(id, reason)
  }

  private drop(id: string, outlet: StreamOutlet): void {
    if (this.outlets.get(id) === outlet) this.outlets.delete(id)
    outlet.close()
  }

  /** @throws HelixError `concurrency_limit_exceeded` */
  private checkRoom(): void {
    if (this.live + this.beginning < STREAMS_MAX) return
    throw new HelixError('concurrency_limit_exceeded', `A connection has ${STREAMS_MAX} streams at most.`, {
      retryAfterMs: 1_000,
    })
  }

  private makeRoom(): void {
    if (this.outlets.size < ENDED_MAX) return
    for (const [id, outlet] of this.outlets) {
      if (!outlet.isOver) continue
      this.drop(id, outlet)
      return
    }
  }
}

/** What a client is told of its resume. */
export function recoveryOf(attached: Attached | ResumeRefusal, seq: number): Recovery {
  if (typeof attached === 'string') return { recovered: false, reason: attached }
  return { recovered: true, from: seq + 1 }
}

/** What somebody has seen of a stream cannot be continued. */
export function unrecoverable(reason: Unrecoverable): HelixError {
  return new HelixError('stream_unrecoverable', `The stream cannot be continued: ${reason}.`)
}

function noSuchStream(): HelixError {
  return new HelixError('not_found', 'There is no such stream.')
}

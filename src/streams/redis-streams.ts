import { randomBytes } from 'node:crypto'
import { delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { RedisClient } from '../redis/connection.ts'
import { withinDeadline } from '../redis/deadline.ts'
import { readReason, writeReason } from './cancel-reason.ts'
import { EventRing } from './event-ring.ts'
import { GatewayLease } from './gateway-lease.ts'
import { readEarlier, readHead, writeHead } from './kept-head.ts'
import { CLAIM_MS, claimName, MemoryClaims } from './memory-claims.ts'
import type { StreamStoreOptions } from './memory-streams.ts'
import { type Mirror, openMirror } from './mirror.ts'
import { Outbox } from './outbox.ts'
import { ProducedStreams } from './produced-streams.ts'
import type { RedisChannels } from './redis-channels.ts'
import {
  type EarlierEpoch,
  type Producer,
  RingStream,
  type Stream,
  type StreamHead,
  type StreamStore,
  type StreamWriter,
} from './stream.ts'
import type { StreamEvent } from './stream-event.ts'
import { type StreamKeys, streamKeys } from './stream-keys.ts'
import { defineStreamScripts, type StreamScripts } from './stream-scripts.ts'
import { FORGOTTEN_AFTER_MS, Tombstones } from './tombstones.ts'

export interface RedisStreamsOptions extends StreamStoreOptions {
  readonly client: RedisClient
  readonly channels: RedisChannels
  /** Begins every key. */
  readonly prefix: string
  /** Names this gateway; unique, also over its restarts. */
  readonly gateway: string
  /** Longest wait for Redis; after it a stream goes on in memory. */
  readonly timeoutMs: number
  readonly log: Logger
  /**
   * A stream whose gateway is gone was taken over by this one, which must bring it to an end. Returns what can be told to
   * stop. Left out, it ends with an error.
   */
  readonly orphaned?: ((writer: StreamWriter, soFar: readonly StreamEvent[]) => Producer) | undefined
  /** Whether this gateway will be there for the rest of a stream; left out, it will. */
  readonly stays?: (() => boolean) | undefined
}

/** An unfinished stream that nobody touches is kept for so long. */
const LIFE_MS = 900_000
/** A connection takes a moment; a gateway whose Redis is away starts all the same. */
const START_RETRY_MS = 100
const START_TRIES = 10
/** Whoever waits is no generation. */
const PATIENT_TIMEOUT_MS = 1_000
/** Something may be told, or lost, between looking and taking. */
const ADOPTION_TRIES = 3

/**
 * Streams of several gateways. Each is made at one of them, which numbers its events and shows them, also to its own
 * readers, when Redis has them; the others follow it there. Without Redis every gateway goes on with its own.
 */
export class RedisStreams implements StreamStore {
  private readonly scripts: StreamScripts
  private readonly lease: GatewayLease
  private readonly produced: ProducedStreams
  private readonly mirrors = new Map<string, Mirror>()
  private readonly opening = new Map<string, Promise<Mirror | undefined>>()
  /** Streams that are being taken over. */
  private readonly adopting = new Set<string>()
  private readonly gone: Tombstones
  /** Made while Redis was away. */
  private readonly claims: MemoryClaims
  private endOrders = () => {}

  constructor(private readonly options: RedisStreamsOptions) {
    const { client, channels, clock, timeoutMs, gateway, keepMs, prefix } = options
    this.scripts = defineStreamScripts(client)
    this.gone = new Tombstones(clock)
    this.claims = new MemoryClaims(clock)
    const common = { client, channels, clock, timeoutMs, keepMs, scripts: this.scripts, lifeMs: LIFE_MS }
    this.lease = new GatewayLease({
      ...common,
      prefix,
      id: gateway,
      onAway: (isAway) => this.redisWent(isAway),
    })
    const outbox = new Outbox({
      ...common,
      log: options.log,
      owner: gateway,
      tombstoneMs: keepMs + FORGOTTEN_AFTER_MS,
    })
    this.produced = new ProducedStreams({
      ...common,
      outbox,
      gone: this.gone,
      owner: gateway,
      isAway: () => this.lease.away,
      failed: () => this.lease.failed(),
    })
  }

  /** Streams are shared from here on, if Redis answers; else from when it does. */
  async start(): Promise<void> {
    const { channels, gateway, clock } = this.options
    this.endOrders = await channels.listen(this.orders(gateway), (text) => this.ordered(text))
    await this.lease.start()
    for (let tries = 0; this.lease.away && tries < START_TRIES; tries++) await delay(clock, START_RETRY_MS)
  }

  /** Whether streams go on in memory, because Redis does not answer. */
  get away(): boolean {
    return this.lease.away
  }

  get producing(): number {
    return this.produced.producing
  }

  async create(head: StreamHead, producer: Producer): Promise<StreamWriter> {
    const { again: _, ...local } = head
    const keys = this.keys(head.id)
    const stream = new RingStream(local, new EventRing(this.options), { attended: () => {}, read: () => {} })
    const shared = this.produced.begin(stream, keys, producer)
    if (this.lease.away) shared.goAlone()
    else
      try {
        const words = [this.options.gateway, head.tenant, writeHead(head), LIFE_MS]
        await this.within(this.scripts.hfStreamCreate(keys.head, ...words))
      } catch {
        // It may be there all the same: its first event finds out when Redis is back.
        this.lease.failed()
      }
    return shared.writer
  }

  async find(tenant: string, id: string): Promise<Stream | 'not_found' | 'expired'> {
    const stream = this.produced.find(id) ?? (await this.mirror(id))?.stream
    if (stream) return stream.head.tenant === tenant ? stream : 'not_found'
    if (this.gone.reason(tenant, id) === 'expired') return 'expired'
    const owner = await this.patiently(this.options.client.get(this.keys(id).gone))
    return owner === tenant ? 'expired' : 'not_found'
  }

  async cancel(tenant: string, id: string, reason: HelixError): Promise<boolean> {
    const stream = this.produced.find(id)
    if (stream) return stream.head.tenant === tenant && this.produced.cancel(id, reason)
    const text = writeReason(reason)
    const owner = await this.patiently(this.scripts.hfStreamCancel(this.keys(id).head, tenant, text))
    if (owner === null) return false
    // Where that is missed, the producer hears of it with its next event.
    await this.options.channels
      .publish(this.orders(owner), JSON.stringify({ id, reason: text }))
      .catch(() => {})
    return true
  }

  async claim(tenant: string, name: string, id: string): Promise<string> {
    const full = claimName(tenant, name)
    const known = this.claims.find(full)
    if (known !== undefined || this.lease.away) return known ?? this.claims.claim(full, id)
    try {
      return await this.within(this.scripts.hfStreamClaim(this.claimKey(full), id, CLAIM_MS))
    } catch {
      this.lease.failed()
      return this.claims.claim(full, id)
    }
  }

  async release(tenant: string, name: string): Promise<void> {
    const full = claimName(tenant, name)
    this.claims.release(full)
    if (this.lease.away) return
    await this.within(this.options.client.del(this.claimKey(full))).catch(() => this.lease.failed())
  }

  /**
   * Makes this gateway the producer of a stream whose own is gone: with the next number, in an epoch of its own. Of
   * several gateways one wins.
   *
   * @param producer what can be told to stop
   * @returns undefined when it has ended, its gateway lives, or another was faster
   */
  async adopt(id: string, producer: Producer): Promise<StreamWriter | undefined> {
    // Looked at again and again: a second look must not overtake the first one's answer.
    if (this.produced.find(id) || this.adopting.has(id)) return undefined
    this.adopting.add(id)
    try {
      return await this.inherit(id, producer)
    } finally {
      this.adopting.delete(id)
    }
  }

  private async inherit(id: string, producer: Producer): Promise<StreamWriter | undefined> {
    const keys = this.keys(id)
    for (let tries = 0; tries < ADOPTION_TRIES; tries++) {
      const mirror = await this.mirror(id)
      if (!mirror || mirror.lost || mirror.stream.ended) return undefined
      const { stream, owner } = mirror
      if (await this.isMade(owner)) return undefined
      const heirs = await this.heirs(mirror, keys)
      if (!heirs || this.produced.find(id)) return undefined
      if (heirs === 'again') continue
      mirror.close()
      this.mirrors.delete(id)
      stream.renew(heirs.head, heirs.earlier)
      return this.produced.begin(stream, keys, producer).writer
    }
    return undefined
  }

  async stop(): Promise<void> {
    this.endOrders()
    for (const mirror of this.mirrors.values()) mirror.close()
    this.mirrors.clear()
    this.produced.stop()
    await this.lease.stop()
  }

  /**
   * Whether the gateway lives whose the stream is, of one that is not made here. Where it is this gateway's all the same,
   * the answer to its taking over was lost: nobody makes it.
   */
  private async isMade(owner: string): Promise<boolean> {
    return owner !== this.options.gateway && (await this.lease.isAlive(owner))
  }

  /** Makes the stream this gateway's, as far as it is known here. */
  private async heirs(mirror: Mirror, keys: StreamKeys): Promise<Heritage | 'again' | undefined> {
    const { stream, owner } = mirror
    const { lastSeq } = stream
    const answer = await this.patiently(
      this.scripts.hfStreamRead(keys.head, keys.events, keys.readers, lastSeq, 1, '', '', 0),
    )
    const [nowOwner, last, , , headText = '', earlierText = ''] = answer ?? []
    if (nowOwner !== owner) return undefined
    if (last !== lastSeq) {
      // What the server lost was seen here.
      if (Number(last) < lastSeq) mirror.lose('gap')
      else await this.patiently(mirror.refresh())
      return 'again'
    }
    const before = readHead(headText)
    const head = { ...before, epoch: randomBytes(8).toString('hex') }
    const earlier = [...readEarlier(earlierText), { epoch: before.epoch, seq: lastSeq }]
    const words = [owner, lastSeq, this.options.gateway, writeHead(head), JSON.stringify(earlier), LIFE_MS]
    const won = await this.patiently(this.scripts.hfStreamAdopt(keys.head, ...words))
    return won === 1 ? { head, earlier } : 'again'
  }

  /** A stream that is read here has no producer any more. */
  private async orphan({ stream }: Mirror): Promise<void> {
    const { orphaned = endWithError, stays = () => true, log } = this.options
    // Asked again with the next poll; until then another gateway may take it.
    if (!stays()) return
    const producer = new LateProducer()
    const writer = await this.adopt(stream.head.id, producer)
    if (!writer) return
    log.warn('stream taken over', { stream: stream.head.id, lastSeq: stream.lastSeq })
    const soFar: StreamEvent[] = []
    for (let seq = stream.firstSeq; seq <= stream.lastSeq; seq++) {
      const event = stream.at(seq)
      if (event) soFar.push(event)
    }
    producer.is(orphaned(writer, soFar))
  }

  private async mirror(id: string): Promise<Mirror | undefined> {
    const present = this.mirrors.get(id) ?? (await this.opening.get(id))
    if (present) {
      // Who comes from another gateway may have seen there what has not been told here yet.
      await this.patiently(present.refresh())
      if (!present.lost) return present
    }
    const opening = this.openMirror(id).finally(() => this.opening.delete(id))
    this.opening.set(id, opening)
    return opening
  }

  private async openMirror(id: string): Promise<Mirror | undefined> {
    const { channels, clock, gateway, client, log } = this.options
    const keys = this.keys(id)
    const opened = openMirror({
      keys,
      bounds: this.options,
      keepMs: this.options.keepMs,
      scripts: this.scripts,
      channels,
      clock,
      gateway,
      isAlive: (other) => this.isMade(other),
      // Without it they find out when its lease has ended.
      left: () => void client.zrem(keys.readers, gateway).catch(() => {}),
      dropped: (mirror) => {
        if (this.mirrors.get(id) === mirror) this.mirrors.delete(id)
      },
      orphaned: (mirror) =>
        void this.orphan(mirror).catch((cause: unknown) =>
          log.debug('stream was not taken over', { stream: id, cause: String(cause) }),
        ),
    })
    const mirror = await this.patiently(opened)
    if (mirror && !mirror.lost) this.mirrors.set(id, mirror)
    return mirror
  }

  private ordered(text: string): void {
    const { id, reason } = JSON.parse(text) as { readonly id: string; readonly reason: string }
    this.produced.cancel(id, readReason(reason))
  }

  private redisWent(isAway: boolean): void {
    const { log } = this.options
    const { producing } = this.produced
    if (isAway) log.warn('streams go on in memory', { producing })
    else log.info('streams are shared', { producing })
    this.produced.away(isAway)
  }

  private within<Result>(work: Promise<Result>): Promise<Result> {
    return withinDeadline(this.options.clock, this.options.timeoutMs, work)
  }

  /** @throws HelixError `storage_unavailable` */
  private async patiently<Result>(work: Promise<Result>): Promise<Result> {
    try {
      return await withinDeadline(this.options.clock, PATIENT_TIMEOUT_MS, work)
    } catch (cause) {
      const text = 'Streams of other gateways cannot be reached at the moment. Try again shortly.'
      throw new HelixError('storage_unavailable', text, { cause, internal: `redis: ${String(cause)}` })
    }
  }

  private keys(id: string): StreamKeys {
    return streamKeys(this.options.prefix, id)
  }

  private claimKey(name: string): string {
    return `${this.options.prefix}:streams:claim:${name}`
  }

  /** Where a gateway is told to end streams. */
  private orders(gateway: string): string {
    return `${this.options.prefix}:streams:orders:{${gateway}}`
  }
}

/** What a gateway gets with a stream that it takes over. */
interface Heritage {
  readonly head: StreamHead
  readonly earlier: readonly EarlierEpoch[]
}

/** Known only after its stream. */
class LateProducer implements Producer {
  private producer: Producer | undefined
  private reason: HelixError | undefined

  is(producer: Producer): void {
    this.producer = producer
    if (this.reason) producer.cancel(this.reason)
  }

  cancel(reason: HelixError): void {
    this.reason = reason
    this.producer?.cancel(reason)
  }
}

function endWithError(writer: StreamWriter): Producer {
  const error = new HelixError('engine_failed', 'The gateway that made this stream is gone.')
  const { status, retryable } = error
  writer.append('error', JSON.stringify({ ...error.toBody(), status, retryable }))
  return { cancel: () => {} }
}

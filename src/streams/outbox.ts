import type { Clock } from '../core/clock.ts'
import { Cluster, type RedisClient } from '../redis/connection.ts'
import { withinDeadline } from '../redis/deadline.ts'
import type { RedisChannels } from './redis-channels.ts'
import type { StreamEvent } from './stream-event.ts'
import type { StreamKeys } from './stream-keys.ts'
import type { StreamScripts } from './stream-scripts.ts'

/** Events of one stream that Redis is to have, in order and without gaps. */
export interface Parcel {
  readonly keys: StreamKeys
  readonly events: readonly StreamEvent[]
  /** What comes before it need not be kept; 1 or less: everything is. */
  readonly leastSeq: number
}

/** A stream with something to send. */
export interface Sender {
  /** What is to be sent now; undefined: nothing. Not asked again before the answer. */
  parcel(eventsMax: number): Parcel | undefined
  /**
   * @param last number of the newest that Redis has; -1: it knows the stream no more; -2: the stream is another gateway's
   * @param cancel why somebody wants it to end; empty: nobody does
   */
  sent(last: number, cancel: string): void
  /** Whether it arrived is not known. */
  failed(): void
}

export interface OutboxParts {
  readonly client: RedisClient
  readonly scripts: StreamScripts
  readonly channels: RedisChannels
  readonly clock: Clock
  readonly timeoutMs: number
  /** Names this gateway. */
  readonly owner: string
  readonly lifeMs: number
  readonly keepMs: number
  readonly tombstoneMs: number
}

/** So much takes a script a few milliseconds. */
const STREAMS_MAX = 64
const EVENTS_MAX = 512

/**
 * Events of all streams that came in one turn of the event loop go to Redis in one call; in a cluster, whose nodes share
 * nothing, in one call for each stream. A stream has one call under way: what comes meanwhile goes with the next.
 */
export class Outbox {
  private readonly waiting = new Set<Sender>()
  private readonly underWay = new Set<Sender>()
  private scheduled = false

  constructor(private readonly parts: OutboxParts) {}

  add(sender: Sender): void {
    this.waiting.add(sender)
    if (this.scheduled || this.underWay.has(sender)) return
    this.scheduled = true
    setImmediate(() => this.flush())
  }

  private flush(): void {
    this.scheduled = false
    const most = this.parts.client instanceof Cluster ? 1 : STREAMS_MAX
    let senders: Sender[] = []
    let parcels: Parcel[] = []
    let events = 0
    for (const sender of this.waiting) {
      if (this.underWay.has(sender)) continue
      this.waiting.delete(sender)
      const parcel = sender.parcel(EVENTS_MAX)
      if (!parcel) continue
      senders.push(sender)
      parcels.push(parcel)
      events += parcel.events.length
      if (senders.length < most && events < EVENTS_MAX) continue
      void this.send(senders, parcels)
      senders = []
      parcels = []
      events = 0
    }
    if (senders.length > 0) void this.send(senders, parcels)
  }

  private async send(senders: readonly Sender[], parcels: readonly Parcel[]): Promise<void> {
    const { clock, timeoutMs, scripts } = this.parts
    for (const sender of senders) this.underWay.add(sender)
    let answers: (number | string)[] | undefined
    try {
      const call = scripts.hfStreamAppend(3 * parcels.length, ...this.words(parcels))
      answers = await withinDeadline(clock, timeoutMs, call)
    } catch {
      // The senders go on without; they are told below.
    }
    for (const sender of senders) this.underWay.delete(sender)
    for (const [place, sender] of senders.entries()) {
      if (answers) sender.sent(Number(answers[2 * place]), String(answers[2 * place + 1]))
      else sender.failed()
      if (this.waiting.has(sender)) this.add(sender)
    }
  }

  private words(parcels: readonly Parcel[]): (string | number)[] {
    const { channels, owner, lifeMs, keepMs, tombstoneMs } = this.parts
    const words: (string | number)[] = []
    for (const { keys } of parcels) words.push(keys.head, keys.events, keys.gone)
    words.push(channels.verb, owner, lifeMs, keepMs, tombstoneMs)
    for (const { keys, events, leastSeq } of parcels) {
      words.push(keys.channel, leastSeq > 1 ? `${leastSeq}-0` : '', events[0]?.seq ?? 0, events.length)
      for (const { kind, data } of events) words.push(kind, data)
    }
    return words
  }
}

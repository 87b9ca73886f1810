import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
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
  readonly log: Logger
}

interface Post {
  readonly sender: Sender
  readonly parcel: Parcel
}

/** So much takes a script a few milliseconds. */
const STREAMS_MAX = 64
const EVENTS_MAX = 512
/** After an outage there is much to send: no more than is answered in time. In a cluster a call is one stream. */
const CALLS_MAX = 4
const CALLS_IN_CLUSTER_MAX = 64

/**
 * Events of all streams that came in one turn of the event loop go to Redis in one call; in a cluster, whose nodes share
 * nothing, in one call for each stream. A stream has one call under way: what comes meanwhile goes with the next.
 */
export class Outbox {
  private readonly waiting = new Set<Sender>()
  private readonly underWay = new Set<Sender>()
  private scheduled = false
  private calls = 0

  constructor(private readonly parts: OutboxParts) {}

  add(sender: Sender): void {
    this.waiting.add(sender)
    if (!this.underWay.has(sender)) this.schedule()
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    setImmediate(() => this.flush())
  }

  private flush(): void {
    this.scheduled = false
    const callsMax = this.parts.client instanceof Cluster ? CALLS_IN_CLUSTER_MAX : CALLS_MAX
    while (this.calls < callsMax) {
      const posts = this.collect()
      if (posts.length === 0) return
      void this.send(posts)
    }
  }

  /** What goes with one call. */
  private collect(): Post[] {
    const streamsMax = this.parts.client instanceof Cluster ? 1 : STREAMS_MAX
    const posts: Post[] = []
    let events = 0
    for (const sender of this.waiting) {
      if (posts.length >= streamsMax || events >= EVENTS_MAX) break
      if (this.underWay.has(sender)) continue
      this.waiting.delete(sender)
      const parcel = sender.parcel(EVENTS_MAX)
      if (!parcel) continue
      posts.push({ sender, parcel })
      events += parcel.events.length
    }
    return posts
  }

  private async send(posts: readonly Post[]): Promise<void> {
    const { clock, timeoutMs, scripts } = this.parts
    for (const { sender } of posts) this.underWay.add(sender)
    this.calls++
    let answers: (number | string)[] | undefined
    try {
      const call = scripts.hfStreamAppend(3 * posts.length, ...this.words(posts))
      answers = await withinDeadline(clock, timeoutMs, call)
    } catch {
      // The senders go on without; they are told below.
    }
    this.calls--
    for (const { sender } of posts) this.underWay.delete(sender)
    for (const [place, { sender }] of posts.entries())
      this.tell(sender, answers?.slice(2 * place, 2 * place + 2))
    if (this.waiting.size > 0) this.schedule()
  }

  private tell(sender: Sender, answer: readonly (number | string)[] | undefined): void {
    try {
      if (answer) sender.sent(Number(answer[0]), String(answer[1]))
      else sender.failed()
    } catch (cause) {
      // A reader of one stream must not hold up the others.
      this.parts.log.error('stream event was not taken', { cause: String(cause) })
    }
  }

  private words(posts: readonly Post[]): (string | number)[] {
    const { channels, owner, lifeMs, keepMs, tombstoneMs } = this.parts
    const words: (string | number)[] = []
    for (const { parcel } of posts) words.push(parcel.keys.head, parcel.keys.events, parcel.keys.gone)
    words.push(channels.verb, owner, lifeMs, keepMs, tombstoneMs)
    for (const { parcel } of posts) {
      const { keys, events, leastSeq } = parcel
      words.push(keys.channel, leastSeq > 1 ? `${leastSeq}-0` : '', events[0]?.seq ?? 0, events.length)
      for (const { kind, data } of events) words.push(kind, data)
    }
    return words
  }
}

import type { Identity } from '../../contracts/auth.ts'
import { type ClientMessage, TOPICS_MAX } from '../../contracts/realtime.ts'
import { HelixError } from '../../core/errors.ts'
import type { Unrecoverable } from '../../streams/stream-event.ts'
import type { Following, TopicEvent, TopicFollower, TopicPosition, Topics } from '../../streams/topics.ts'
import type { Connection } from './connection.ts'
import type { Facts } from './facts.ts'
import type { SharedFrames } from './frames.ts'
import { topicText } from './message-frames.ts'
import type { SocketCaller } from './socket-caller.ts'
import type { Outlet } from './speaker.ts'
import type { Tally } from './tally.ts'
import { mayFollow, mayPublish, scopeOf, type TopicRule } from './topic-rules.ts'

export interface SessionTopicsParts {
  /** At every gateway the same. */
  readonly topics: Topics
  /** Of this gateway. */
  readonly facts: Facts
}

export interface TopicsOwner {
  readonly connection: Connection
  readonly frames: SharedFrames
  readonly tally: Tally
  /** What was missed is not kept. */
  gap(topic: string, reason: Unrecoverable): void
}

/** A subscription that was made; nothing of it is sent before `begin`. */
export interface Subscribed extends Omit<Following, 'stop'> {
  begin(): void
}

interface Wanted {
  readonly topic: string
  readonly epoch?: string | undefined
  readonly seq?: number | undefined
}

type Publish = Extract<ClientMessage, { type: 'publish' }>

/** An event goes to everybody who follows: it is bounded apart from what a message may have. */
const EVENT_BYTES_MAX = 64 * 1024

/** The topics that one connection follows. */
export class SessionTopics {
  private readonly followed = new Map<string, Subscription | 'beginning'>()
  private latest: LatestOutlet | undefined

  constructor(
    private readonly parts: SessionTopicsParts,
    private readonly caller: SocketCaller,
    private readonly owner: TopicsOwner,
  ) {}

  get size(): number {
    return this.followed.size
  }

  names(): Iterable<string> {
    return this.followed.keys()
  }

  /** @throws HelixError `not_found`, `insufficient_permissions`, `conflict`, `concurrency_limit_exceeded` */
  async subscribe({ topic, epoch, seq }: Wanted): Promise<Subscribed> {
    const identity = await this.caller.identify()
    const rule = mayFollow(identity, topic)
    if (this.followed.has(topic))
      throw new HelixError('conflict', 'This connection follows the topic already.')
    if (this.followed.size >= TOPICS_MAX)
      throw new HelixError('concurrency_limit_exceeded', `A connection has ${TOPICS_MAX} topics at most.`)
    this.followed.set(topic, 'beginning')
    const position = epoch === undefined || seq === undefined ? undefined : { epoch, seq }
    const subscription = new Subscription({
      send: (event) => this.send(rule, event),
      gap: (reason) => this.owner.gap(topic, reason),
    })
    try {
      subscription.following = await this.follow(identity, { topic, rule, position }, subscription)
    } catch (reason) {
      this.followed.delete(topic)
      throw reason
    }
    // It may have been given up, or the connection may have gone, in the meantime.
    const isWanted = this.followed.get(topic) === 'beginning' && this.owner.connection.isOpen
    if (isWanted) this.followed.set(topic, subscription)
    else subscription.stop()
    return { ...subscription.position, begin: () => subscription.begin() }
  }

  /** @throws HelixError `not_found` */
  unsubscribe(topic: string): void {
    const subscription = this.followed.get(topic)
    if (!subscription) throw new HelixError('not_found', 'This connection does not follow the topic.')
    this.followed.delete(topic)
    this.latest?.forget(topic)
    if (subscription !== 'beginning') subscription.stop()
  }

  /** @throws HelixError `not_found`, `insufficient_permissions`, `request_too_large` */
  async publish({ topic, data, key }: Publish): Promise<number> {
    const identity = await this.caller.identify()
    const rule = mayPublish(identity, topic)
    const text = JSON.stringify(data)
    if (Buffer.byteLength(text) > EVENT_BYTES_MAX)
      throw new HelixError('request_too_large', `An event has ${EVENT_BYTES_MAX} bytes at most.`, {
        param: 'data',
      })
    return this.parts.topics.publish(scopeOf(identity, rule), topic, { data: text, kind: rule.kind, key })
  }

  /** Ends what the caller may not follow any more. @returns the topics */
  async recheck(): Promise<readonly string[]> {
    const identity = await this.caller.identify()
    const lost = [...this.followed.keys()].filter((topic) => {
      try {
        return !mayFollow(identity, topic)
      } catch {
        return true
      }
    })
    for (const topic of lost) this.unsubscribe(topic)
    return lost
  }

  stop(): void {
    for (const subscription of this.followed.values()) if (subscription !== 'beginning') subscription.stop()
    this.followed.clear()
  }

  private follow(
    identity: Identity,
    { topic, rule, position }: { topic: string; rule: TopicRule; position: TopicPosition | undefined },
    follower: TopicFollower,
  ): Promise<Following> {
    const { topics, facts } = this.parts
    if (rule.source !== 'shared') return facts.follow(identity, topic, position, follower)
    return topics.follow(scopeOf(identity, rule), topic, position, follower)
  }

  private send({ kind }: TopicRule, event: TopicEvent): void {
    const { connection, frames, tally } = this.owner
    if (kind === 'latest') {
      this.latest ??= new LatestOutlet(this.owner)
      this.latest.put(event)
      return
    }
    tally.add('out', 'event')
    connection.send(frames.of(event, () => topicText(event)))
  }
}

/** What comes before its `ack` has gone out is held back. */
class Subscription implements TopicFollower {
  following: Following | undefined
  private early: TopicEvent[] | undefined = []

  constructor(private readonly owner: { send(event: TopicEvent): void; gap(reason: Unrecoverable): void }) {}

  get position(): Omit<Following, 'stop'> {
    const { epoch = '', seq = 0, recovered = false, reason } = this.following ?? {}
    return { epoch, seq, recovered, reason }
  }

  event(event: TopicEvent): void {
    if (this.early) this.early.push(event)
    else this.owner.send(event)
  }

  gap(reason: Unrecoverable): void {
    this.owner.gap(reason)
  }

  begin(): void {
    const early = this.early ?? []
    this.early = undefined
    for (const event of early) this.owner.send(event)
  }

  stop(): void {
    this.following?.stop()
  }
}

/** Topics of which only the newest value counts: a slow reader never gets an older one. */
class LatestOutlet implements Outlet {
  private readonly waiting = new Map<string, TopicEvent>()

  constructor(private readonly owner: TopicsOwner) {}

  put(event: TopicEvent): void {
    this.waiting.set(event.topic, event)
    this.owner.connection.ready(this)
  }

  forget(topic: string): void {
    this.waiting.delete(topic)
  }

  take(): Buffer | undefined {
    for (const [topic, event] of this.waiting) {
      this.waiting.delete(topic)
      this.owner.tally.add('out', 'event')
      return this.owner.frames.of(event, () => topicText(event))
    }
    return undefined
  }
}

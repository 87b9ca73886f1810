import { randomBytes } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { backlogOf, TopicFeed } from './topic-feed.ts'
import {
  type Following,
  TOPIC_EVENTS_MAX,
  TOPIC_KEY_MS,
  TOPIC_LIFE_MS,
  type TopicEvent,
  type TopicFollower,
  type TopicKind,
  type TopicPosition,
  type TopicPublication,
  type Topics,
} from './topics.ts'

interface Kept {
  readonly epoch: string
  readonly feed: TopicFeed
  /** Numbers of what was published with a key. */
  readonly keys: Map<string, number>
  seq: number
  kind: TopicKind | undefined
  events: TopicEvent[]
  cancelEnd: () => void
}

/** Topics of a gateway that is the only one. */
export class MemoryTopics implements Topics {
  private readonly topics = new Map<string, Kept>()
  private readonly listeners = new Set<(scope: string, data: string) => void>()

  constructor(
    private readonly clock: Clock,
    /** How long a topic is kept that nobody follows and nobody publishes to. */
    private readonly lifeMs = TOPIC_LIFE_MS,
  ) {}

  async publish(scope: string, topic: string, { data, kind, key }: TopicPublication): Promise<number> {
    const kept = this.of(scope, topic)
    const known = key === undefined ? undefined : kept.keys.get(key)
    if (known !== undefined) return known
    const event = { topic, epoch: kept.epoch, seq: ++kept.seq, data }
    kept.kind = kind
    kept.events.push(event)
    if (kept.events.length > (kind === 'latest' ? 1 : TOPIC_EVENTS_MAX)) kept.events.shift()
    if (key !== undefined) {
      kept.keys.set(key, event.seq)
      this.clock.schedule(TOPIC_KEY_MS, () => kept.keys.delete(key))
    }
    kept.feed.deliver(event)
    return event.seq
  }

  async follow(
    scope: string,
    topic: string,
    position: TopicPosition | undefined,
    follower: TopicFollower,
  ): Promise<Following> {
    const kept = this.of(scope, topic)
    const { events, reason } = backlogOf(kept, position)
    const stop = kept.feed.join(follower, events)
    return { epoch: kept.epoch, seq: kept.seq, recovered: reason === undefined, reason, stop }
  }

  async presence(scope: string, topic: string): Promise<number> {
    return this.topics.get(nameOf(scope, topic))?.feed.size ?? 0
  }

  announce(scope: string, data: string): void {
    for (const listener of [...this.listeners]) listener(scope, data)
  }

  onAnnounce(listener: (scope: string, data: string) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  async stop(): Promise<void> {
    for (const { cancelEnd } of this.topics.values()) cancelEnd()
    this.topics.clear()
  }

  private of(scope: string, topic: string): Kept {
    const name = nameOf(scope, topic)
    const kept = this.topics.get(name) ?? {
      epoch: randomBytes(8).toString('hex'),
      feed: new TopicFeed(),
      keys: new Map<string, number>(),
      seq: 0,
      kind: undefined,
      events: [],
      cancelEnd: () => {},
    }
    this.topics.set(name, kept)
    this.touch(name, kept)
    return kept
  }

  private touch(name: string, kept: Kept): void {
    kept.cancelEnd()
    kept.cancelEnd = this.clock.schedule(this.lifeMs, () => {
      if (kept.feed.size > 0) this.touch(name, kept)
      else this.topics.delete(name)
    })
  }
}

/** No scope has a line break. */
export function nameOf(scope: string, topic: string): string {
  return `${scope}\n${topic}`
}

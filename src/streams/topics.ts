import { randomBytes } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import type { Unrecoverable } from './stream-event.ts'

export interface TopicEvent {
  readonly topic: string
  readonly epoch: string
  readonly seq: number
  /** JSON text. */
  readonly data: string
}

/** `latest`: only the newest value counts; `log`: all count, in order. */
export type TopicKind = 'latest' | 'log'

export interface TopicFollower {
  /** In order, each once. */
  event(event: TopicEvent): void
  /** What was missed is not kept: it must say so to its client, and goes on from here. */
  gap(reason: Unrecoverable): void
}

export interface Following {
  readonly epoch: string
  /** The newest when following began. */
  readonly seq: number
  /** Whether everything after the given position was or will be given. */
  readonly recovered: boolean
  stop(): void
}

export interface TopicPosition {
  readonly epoch: string
  readonly seq: number
}

/** What is published to whoever follows, at every gateway. No event ever crosses its scope. */
export interface Topics {
  /** @returns its number; that of the first one where the same key was published within ten minutes */
  publish(
    scope: string,
    topic: string,
    event: { readonly data: string; readonly kind: TopicKind; readonly key?: string | undefined },
  ): Promise<number>
  follow(
    scope: string,
    topic: string,
    position: TopicPosition | undefined,
    follower: TopicFollower,
  ): Promise<Following>
  /** Connections that follow a topic, at all gateways. */
  presence(scope: string, topic: string): Promise<number>
  /** To every gateway, this one too. Best effort. */
  announce(scope: string, data: string): void
  /** Returns what ends it. */
  onAnnounce(listener: (scope: string, data: string) => void): () => void
  stop(): Promise<void>
}

const LOG_EVENTS_MAX = 256
const KEYS_MS = 600_000

interface Topic {
  readonly epoch: string
  seq: number
  kind: TopicKind
  events: TopicEvent[]
  readonly followers: Set<TopicFollower>
  readonly keys: Map<string, number>
}

/** Those of a gateway that is the only one. */
export class MemoryTopics implements Topics {
  private readonly topics = new Map<string, Topic>()
  private readonly listeners = new Set<(scope: string, data: string) => void>()

  constructor(private readonly clock: Clock) {}

  async publish(
    scope: string,
    name: string,
    {
      data,
      kind,
      key,
    }: { readonly data: string; readonly kind: TopicKind; readonly key?: string | undefined },
  ): Promise<number> {
    const topic = this.topic(scope, name)
    const known = key === undefined ? undefined : topic.keys.get(key)
    if (known !== undefined) return known
    const event: TopicEvent = { topic: name, epoch: topic.epoch, seq: ++topic.seq, data }
    topic.kind = kind
    topic.events = kind === 'latest' ? [event] : [...topic.events, event].slice(-LOG_EVENTS_MAX)
    if (key !== undefined) {
      topic.keys.set(key, event.seq)
      this.clock.schedule(KEYS_MS, () => topic.keys.delete(key))
    }
    for (const follower of [...topic.followers]) follower.event(event)
    return event.seq
  }

  async follow(
    scope: string,
    name: string,
    position: TopicPosition | undefined,
    follower: TopicFollower,
  ): Promise<Following> {
    const topic = this.topic(scope, name)
    const { epoch, seq, events } = topic
    const first = events[0]?.seq ?? seq + 1
    const recovered =
      position === undefined ||
      (position.epoch === epoch &&
        position.seq <= seq &&
        (topic.kind === 'latest' || position.seq >= first - 1))
    topic.followers.add(follower)
    const missed = events.filter((event) =>
      position === undefined || !recovered ? topic.kind === 'latest' : event.seq > position.seq,
    )
    queueMicrotask(() => {
      if (topic.followers.has(follower)) for (const event of missed) follower.event(event)
    })
    return { epoch, seq, recovered, stop: () => topic.followers.delete(follower) }
  }

  async presence(scope: string, name: string): Promise<number> {
    return this.topics.get(keyOf(scope, name))?.followers.size ?? 0
  }

  announce(scope: string, data: string): void {
    for (const listener of [...this.listeners]) listener(scope, data)
  }

  onAnnounce(listener: (scope: string, data: string) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  async stop(): Promise<void> {
    this.topics.clear()
    this.listeners.clear()
  }

  private topic(scope: string, name: string): Topic {
    const key = keyOf(scope, name)
    const known = this.topics.get(key)
    if (known) return known
    const made: Topic = {
      epoch: randomBytes(8).toString('hex'),
      seq: 0,
      kind: 'log',
      events: [],
      followers: new Set(),
      keys: new Map(),
    }
    this.topics.set(key, made)
    return made
  }
}

function keyOf(scope: string, name: string): string {
  return `${scope} ${name}`
}

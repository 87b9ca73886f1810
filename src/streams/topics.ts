import type { Unrecoverable } from './stream-event.ts'

/** One event of a topic, at whichever gateway it is heard. */
export interface TopicEvent {
  readonly topic: string
  readonly epoch: string
  readonly seq: number
  /** JSON text. */
  readonly data: string
}

/** `latest`: only the newest value counts; `log`: every event does, and some are kept for who was away. */
export type TopicKind = 'latest' | 'log'

/** Who hears a topic. */
export interface TopicFollower {
  /** In order, each once. Of a `latest` topic some may be left out. */
  event(event: TopicEvent): void
  /** What was missed is not kept: it must say so to its client, and goes on from here. */
  gap(reason: Unrecoverable): void
}

/** What a follower has, from an earlier time. */
export interface TopicPosition {
  readonly epoch: string
  readonly seq: number
}

export interface Following {
  readonly epoch: string
  /** Newest number when following began. */
  readonly seq: number
  /** Whether everything after the given position was or will be given. */
  readonly recovered: boolean
  /** Why not. */
  readonly reason: Unrecoverable | undefined
  /** Nothing is given after it. */
  stop(): void
}

export interface TopicPublication {
  /** JSON text. */
  readonly data: string
  readonly kind: TopicKind
  /** The same within ten minutes is published once. */
  readonly key?: string | undefined
}

/** Events that are of interest to whoever follows them, at whichever gateway. */
export interface Topics {
  /**
   * Returns its number, also when it was published before. `scope` is the organisation or organisation/project: no event
   * ever crosses it. @throws HelixError `storage_unavailable`
   */
  publish(scope: string, topic: string, publication: TopicPublication): Promise<number>
  /**
   * What came after the position is given first, where it is kept; of a `latest` topic the newest value. Without a position
   * a log is heard from here on. Nothing is given before whoever awaits this goes on. @throws HelixError `storage_unavailable`
   */
  follow(
    scope: string,
    topic: string,
    position: TopicPosition | undefined,
    follower: TopicFollower,
  ): Promise<Following>
  /** How many follow a topic, at all gateways. @throws HelixError `storage_unavailable` */
  presence(scope: string, topic: string): Promise<number>
  /** To every gateway, this one too. Best effort. */
  announce(scope: string, data: string): void
  /** @returns what ends it */
  onAnnounce(listener: (scope: string, data: string) => void): () => void
  stop(): Promise<void>
}

/** A topic that nobody has touched for so long is forgotten. */
export const TOPIC_LIFE_MS = 86_400_000
/** Events of a log that are kept for who was away. */
export const TOPIC_EVENTS_MAX = 256
/** How long a key stands for what was published with it. */
export const TOPIC_KEY_MS = 600_000

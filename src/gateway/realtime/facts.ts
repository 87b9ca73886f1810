import type { Identity } from '../../contracts/auth.ts'
import type { Clock } from '../../core/clock.ts'
import { MemoryTopics } from '../../streams/memory-topics.ts'
import type { Following, TopicFollower, TopicPosition, Topics } from '../../streams/topics.ts'
import { type FactTopic, mayFollow, scopeOf, type TopicRule } from './topic-rules.ts'

/** Tells one thing for as long as it is followed. */
export interface Publisher {
  /** Callers of one scope that see different things have different variants. */
  variant?(identity: Identity): string
  /** Returns what ends it. */
  start(
    about: { readonly identity: Identity; readonly topic: string },
    publish: (data: string) => void,
  ): () => void
}

export type Publishers = Readonly<Record<FactTopic | 'presence', Publisher>>

interface Running {
  followers: number
  readonly stop: () => void
}

/**
 * What was told is old when nobody has followed for so long, and there are as many topics of presence as clients think of
 * names.
 */
const LIFE_MS = 60_000

/** What this gateway tells of itself. Each publisher runs only while somebody follows it here. */
export class Facts {
  private readonly running = new Map<string, Running>()
  /** Of this gateway alone. */
  private readonly topics: Topics

  constructor(
    clock: Clock,
    private readonly publishers: Publishers,
  ) {
    this.topics = new MemoryTopics(clock, LIFE_MS)
  }

  async follow(
    identity: Identity,
    topic: string,
    position: TopicPosition | undefined,
    follower: TopicFollower,
  ): Promise<Following> {
    const rule = mayFollow(identity, topic)
    const publisher = this.publishers[rule.source === 'presence' ? 'presence' : (topic as FactTopic)]
    const scope = `${scopeOf(identity, rule)} ${publisher.variant?.(identity) ?? ''}`
    const leave = this.join({ scope, topic, rule }, publisher, identity)
    const following = await this.topics.follow(scope, topic, position, follower).catch((reason: unknown) => {
      leave()
      throw reason
    })
    return {
      ...following,
      stop: () => {
        following.stop()
        leave()
      },
    }
  }

  stop(): void {
    for (const { stop } of this.running.values()) stop()
    this.running.clear()
    void this.topics.stop()
  }

  private join(
    {
      scope,
      topic,
      rule: { kind },
    }: { readonly scope: string; readonly topic: string; readonly rule: TopicRule },
    publisher: Publisher,
    identity: Identity,
  ): () => void {
    const key = `${scope} ${topic}`
    const known = this.running.get(key)
    const running = known ?? {
      followers: 0,
      stop: publisher.start(
        { identity, topic },
        (data) => void this.topics.publish(scope, topic, { data, kind }),
      ),
    }
    if (!known) this.running.set(key, running)
    running.followers++
    return () => {
      if (--running.followers > 0) return
      this.running.delete(key)
      running.stop()
    }
  }
}

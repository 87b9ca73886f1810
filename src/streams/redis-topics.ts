import { randomBytes } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { RedisClient } from '../redis/connection.ts'
import { withinDeadline } from '../redis/deadline.ts'
import { nameOf } from './memory-topics.ts'
import type { RedisChannels } from './redis-channels.ts'
import { backlogOf, TopicFeed, type TopicState } from './topic-feed.ts'
import { defineTopicScripts, type TopicScripts } from './topic-scripts.ts'
import {
  type Following,
  TOPIC_EVENTS_MAX,
  TOPIC_KEY_MS,
  TOPIC_LIFE_MS,
  type TopicFollower,
  type TopicKind,
  type TopicPosition,
  type TopicPublication,
  type Topics,
} from './topics.ts'

export interface RedisTopicsParts {
  readonly client: RedisClient
  readonly channels: RedisChannels
  /** Begins every key. */
  readonly prefix: string
  /** Names this gateway. */
  readonly gateway: string
  readonly clock: Clock
}

/** How often is looked for what was not told, and followers are counted again. */
const POLL_MS = 2_000
const PRESENCE_LEASE_MS = 3 * POLL_MS
/** No generation waits for it. */
const TIMEOUT_MS = 1_000
/** Events that come faster than they can be read: a reader may be overtaken, not for ever. */
const FOLLOW_TRIES = 5

interface Topic {
  readonly scope: string
  readonly name: string
  readonly keys: ReturnType<typeof keysOf>
  readonly feed: TopicFeed
  readonly listening: Promise<() => void>
  /** Followers to be. */
  joining: number
  reading: Promise<void> | undefined
  /** Something was told while a reading was under way. */
  readAgain: boolean
  /** Its followers are about to be counted. */
  isCounting: boolean
  cancelPoll: () => void
}

/** Topics of several gateways: whoever publishes gets the next number from Redis, which tells everybody. */
export class RedisTopics implements Topics {
  private readonly scripts: TopicScripts
  private readonly topics = new Map<string, Topic>()
  private readonly listeners = new Set<(scope: string, data: string) => void>()
  private readonly listening: Promise<() => void>

  constructor(private readonly parts: RedisTopicsParts) {
    this.scripts = defineTopicScripts(parts.client)
    this.listening = parts.channels.listen(this.announcements, (text) => this.announced(text))
  }

  async publish(scope: string, topic: string, { data, kind, key }: TopicPublication): Promise<number> {
    const { channels, prefix } = this.parts
    const { state, log, once, channel } = keysOf(prefix, scope, topic)
    const eventsMax = kind === 'latest' ? 1 : TOPIC_EVENTS_MAX
    const hasKey = key === undefined ? 0 : 1
    const words = [data, kind, newEpoch(), hasKey, TOPIC_KEY_MS, eventsMax, TOPIC_LIFE_MS]
    return this.within(
      this.scripts.hfTopicPublish(state, log, once(key ?? ''), ...words, channels.verb, channel),
    )
  }

  async follow(
    scope: string,
    topic: string,
    position: TopicPosition | undefined,
    follower: TopicFollower,
  ): Promise<Following> {
    const followed = this.of(scope, topic)
    followed.joining++
    try {
      await followed.listening
      for (let tries = 1; ; tries++) {
        const state = await this.read(followed, 0)
        const { feed } = followed
        feed.catchUp(state)
        // What was told meanwhile is not in what was read.
        if (feed.seq > state.seq && tries < FOLLOW_TRIES) continue
        const { events, reason } = backlogOf(state, position)
        const stop = feed.join(follower, events)
        // Told after the reading, before there was anything to compare it with.
        if (followed.readAgain) this.catchUp(followed).catch(() => {})
        const { epoch, seq } = state
        return { epoch, seq, recovered: reason === undefined, reason, stop }
      }
    } finally {
      followed.joining--
      this.dropUnfollowed(followed)
    }
  }

  presence(scope: string, topic: string): Promise<number> {
    return this.within(this.scripts.hfTopicPresence(keysOf(this.parts.prefix, scope, topic).followers))
  }

  announce(scope: string, data: string): void {
    const { channels, gateway } = this.parts
    for (const listener of [...this.listeners]) listener(scope, data)
    const text = JSON.stringify({ gateway, scope, data })
    // Best effort: those elsewhere are beyond reach.
    channels.publish(this.announcements, text).catch(() => {})
  }

  onAnnounce(listener: (scope: string, data: string) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  async stop(): Promise<void> {
    const open = [...this.topics.values()]
    this.topics.clear()
    for (const topic of open) {
      topic.cancelPoll()
      void topic.listening.then((end) => end())
      void this.attend(topic, 0)
    }
    this.listeners.clear()
    void this.listening.then((end) => end())
  }

  private of(scope: string, name: string): Topic {
    const present = this.topics.get(nameOf(scope, name))
    if (present) return present
    const { channels, prefix } = this.parts
    const keys = keysOf(prefix, scope, name)
    const topic: Topic = {
      scope,
      name,
      keys,
      feed: new TopicFeed(() => this.changed(topic)),
      listening: channels.listen(keys.channel, (text) => this.heard(topic, text)),
      joining: 0,
      reading: undefined,
      readAgain: false,
      isCounting: false,
      cancelPoll: () => {},
    }
    this.topics.set(nameOf(scope, name), topic)
    this.pollLater(topic)
    return topic
  }

  private heard(topic: Topic, text: string): void {
    const { feed, name } = topic
    const [, epoch = '', seqText, kind, data = ''] = /^(\S+) (\d+) (\w+) (.*)$/s.exec(text) ?? []
    const seq = Number(seqText)
    const isNext = kind === 'latest' ? seq > feed.seq : seq === feed.seq + 1
    if (epoch === feed.epoch && isNext) feed.deliver({ topic: name, epoch, seq, data })
    else if (feed.epoch === undefined) topic.readAgain = true
    // A failure is made good by the poll.
    else this.catchUp(topic).catch(() => {})
  }

  /** @throws HelixError `storage_unavailable` */
  private catchUp(topic: Topic): Promise<void> {
    topic.readAgain = true
    topic.reading ??= this.readMissing(topic)
    return topic.reading
  }

  private async readMissing(topic: Topic): Promise<void> {
    try {
      while (topic.readAgain) {
        topic.readAgain = false
        topic.feed.catchUp(await this.read(topic, topic.feed.seq))
      }
    } finally {
      // In the same step as the last look: whoever asks after it must not be given this reading.
      topic.reading = undefined
    }
  }

  private async read({ name, keys, feed }: Topic, after: number): Promise<TopicState> {
    const heard = [feed.epoch ?? '', feed.seq]
    const words = [after, newEpoch(), TOPIC_LIFE_MS, ...heard]
    const answer = await this.within(this.scripts.hfTopicRead(keys.state, keys.log, ...words))
    const [epoch, seq, kind, entries] = answer
    return {
      epoch,
      seq,
      kind: kind === '' ? undefined : (kind as TopicKind),
      events: entries.map(([id, [, data = '']]) => ({
        topic: name,
        epoch,
        seq: Number.parseInt(id, 10),
        data,
      })),
    }
  }

  private pollLater(topic: Topic): void {
    topic.cancelPoll = this.parts.clock.schedule(POLL_MS, () => {
      this.pollLater(topic)
      void this.attend(topic, topic.feed.size)
      // The next one makes good what fails.
      if (topic.feed.epoch !== undefined) this.catchUp(topic).catch(() => {})
    })
  }

  private changed(topic: Topic): void {
    this.dropUnfollowed(topic)
    if (topic.isCounting) return
    topic.isCounting = true
    setImmediate(() => {
      topic.isCounting = false
      void this.attend(topic, topic.feed.size)
    })
  }

  private dropUnfollowed(topic: Topic): void {
    const id = nameOf(topic.scope, topic.name)
    if (topic.feed.size > 0 || topic.joining > 0 || this.topics.get(id) !== topic) return
    this.topics.delete(id)
    topic.cancelPoll()
    void topic.listening.then((end) => end())
  }

  private async attend({ keys }: Topic, count: number): Promise<void> {
    const told = this.scripts.hfTopicAttend(keys.followers, this.parts.gateway, count, PRESENCE_LEASE_MS)
    // The next poll says it again; who left is gone when the lease is.
    await told.catch(() => {})
  }

  private announced(text: string): void {
    const { gateway, scope, data } = JSON.parse(text) as Announcement
    if (gateway === this.parts.gateway) return
    for (const listener of [...this.listeners]) listener(scope, data)
  }

  /** @throws HelixError `storage_unavailable` */
  private async within<Result>(work: Promise<Result>): Promise<Result> {
    try {
      return await withinDeadline(this.parts.clock, TIMEOUT_MS, work)
    } catch (cause) {
      const text = 'Topics cannot be reached at the moment. Try again shortly.'
      throw new HelixError('storage_unavailable', text, { cause, internal: `redis: ${String(cause)}` })
    }
  }

  private get announcements(): string {
    return `${this.parts.prefix}:topics:announcements`
  }
}

interface Announcement {
  readonly gateway: string
  readonly scope: string
  readonly data: string
}

function newEpoch(): string {
  return randomBytes(8).toString('hex')
}

/** All of a topic in one slot of a cluster. */
function keysOf(prefix: string, scope: string, topic: string) {
  const base = `${prefix}:topic:{${scope}|${topic}}`
  return {
    state: `${base}:state`,
    log: `${base}:log`,
    followers: `${base}:followers`,
    channel: `${base}:new`,
    once: (key: string) => `${base}:once:${key}`,
  }
}

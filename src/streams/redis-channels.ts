import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { RedisClient } from '../redis/connection.ts'
import { withinDeadline } from '../redis/deadline.ts'

export interface RedisChannelsParts {
  readonly client: RedisClient
  /** A connection for nothing else. */
  readonly subscriber: RedisClient
  readonly clock: Clock
  readonly log: Logger
}

export type ChannelListener = (text: string) => void

/** Sharded channels stay on one node of a cluster; others go to every node. */
const SHARDED_SINCE = 7
const RETRY_MS = 1_000
const TIMEOUT_MS = 1_000

/**
 * Notifications between gateways. What is said while a connection is away is missed: whoever listens must look by
 * themselves now and then. A channel's name shares the hash tag of the keys that it is about, so that a script may
 * publish to it.
 */
export class RedisChannels {
  private readonly listeners = new Map<string, Set<ChannelListener>>()
  private sharded: boolean | undefined
  private stopped = false
  private cancelRetry = () => {}

  constructor(private readonly parts: RedisChannelsParts) {
    const { subscriber } = parts
    const heard = (channel: string, text: string) => this.heard(channel, text)
    subscriber.on('message', heard)
    subscriber.on('smessage', heard)
    subscriber.on('ready', () => void this.subscribeAll())
  }

  /** How a script publishes. Known once `prepare` has succeeded. */
  get verb(): 'SPUBLISH' | 'PUBLISH' {
    return this.sharded ? 'SPUBLISH' : 'PUBLISH'
  }

  /** Asks once what the server can do. @throws what Redis answers, or that it does not */
  async prepare(): Promise<void> {
    if (this.sharded !== undefined) return
    const { client, clock } = this.parts
    const text = await withinDeadline(clock, TIMEOUT_MS, client.info('server'))
    this.sharded = Number(/^redis_version:(\d+)/m.exec(text)?.[1] ?? 0) >= SHARDED_SINCE
    await this.subscribeAll()
  }

  async publish(channel: string, text: string): Promise<void> {
    const { client } = this.parts
    await (this.sharded ? client.spublish(channel, text) : client.publish(channel, text))
  }

  /** Resolves when it listens, or has failed to and goes on trying. @returns what ends it */
  async listen(channel: string, listener: ChannelListener): Promise<() => void> {
    const present = this.listeners.get(channel)
    if (present) present.add(listener)
    else this.listeners.set(channel, new Set([listener]))
    if (!present) await this.subscribe(channel)
    return () => this.leave(channel, listener)
  }

  stop(): void {
    this.stopped = true
    this.cancelRetry()
    this.listeners.clear()
    this.parts.subscriber.disconnect()
  }

  private leave(channel: string, listener: ChannelListener): void {
    const present = this.listeners.get(channel)
    if (!present?.delete(listener) || present.size > 0) return
    this.listeners.delete(channel)
    const { subscriber } = this.parts
    const left = this.sharded ? subscriber.sunsubscribe(channel) : subscriber.unsubscribe(channel)
    // Without a connection there is nothing to end.
    left.catch(() => {})
  }

  private async subscribeAll(): Promise<void> {
    await Promise.all([...this.listeners.keys()].map((channel) => this.subscribe(channel)))
  }

  private async subscribe(channel: string): Promise<void> {
    const { subscriber, clock } = this.parts
    if (this.sharded === undefined || this.stopped) return
    try {
      const asked = this.sharded ? subscriber.ssubscribe(channel) : subscriber.subscribe(channel)
      await withinDeadline(clock, TIMEOUT_MS, asked)
    } catch {
      this.cancelRetry()
      // A cluster's slots may have no owner at the moment; all again is no harm.
      this.cancelRetry = clock.schedule(RETRY_MS, () => void this.subscribeAll())
    }
  }

  private heard(channel: string, text: string): void {
    for (const listener of [...(this.listeners.get(channel) ?? [])])
      try {
        listener(text)
      } catch (cause) {
        // Whoever can publish here must not be able to end a gateway.
        this.parts.log.error('message was not taken', { channel, cause: String(cause) })
      }
  }
}

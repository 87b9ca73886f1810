import { randomUUID } from 'node:crypto'
import type { Config } from '../config/schema.ts'
import type { Logger } from '../core/log.ts'
import type { RedisConnection } from '../redis/connection.ts'
import { MemoryStreams } from '../streams/memory-streams.ts'
import { MemoryTopics } from '../streams/memory-topics.ts'
import { RedisChannels } from '../streams/redis-channels.ts'
import { RedisStreams, type RedisStreamsOptions } from '../streams/redis-streams.ts'
import { RedisTopics } from '../streams/redis-topics.ts'
import { MemorySecrets, type OneTimeSecrets, RedisSecrets } from '../streams/secrets.ts'
import type { StreamStore } from '../streams/stream.ts'
import type { Topics } from '../streams/topics.ts'
import { systemClock } from '../system.ts'

export interface OpenStreams {
  readonly streams: StreamStore
  readonly topics: Topics
  readonly secrets: OneTimeSecrets
  stop(): Promise<void>
}

export interface OpenStreamsOptions {
  readonly log: Logger
  /** Goes on with streams whose gateway is gone; left out, they end with an error. */
  readonly orphaned?: RedisStreamsOptions['orphaned']
  /** Whether it may: a gateway that drains leaves them to others. */
  readonly stays?: RedisStreamsOptions['stays']
}

/** What connections to gateways have in common: streams, topics, tickets; where there is a Redis, over all of them. */
export async function openStreams(
  config: Pick<Config, 'realtime' | 'redis'>,
  redis: RedisConnection | undefined,
  { log, orphaned, stays }: OpenStreamsOptions,
): Promise<OpenStreams> {
  const { bufferEvents: eventsMax, bufferBytes: bytesMax, keepFor: keepMs } = config.realtime
  const clock = systemClock
  if (!redis) {
    const streams = new MemoryStreams({ eventsMax, bytesMax, keepMs, clock })
    const topics = new MemoryTopics(clock)
    const stop = async () => {
      await topics.stop()
      await streams.stop()
    }
    return { streams, topics, secrets: new MemorySecrets(clock), stop }
  }
  const { prefix, timeout: timeoutMs } = config.redis
  const { client } = redis
  const gateway = randomUUID()
  const channels = new RedisChannels({ client, subscriber: redis.subscriber(), clock, log })
  const common = { client, channels, prefix, gateway, clock }
  const streams = new RedisStreams({
    ...common,
    timeoutMs,
    eventsMax,
    bytesMax,
    keepMs,
    log,
    orphaned,
    stays,
  })
  const topics = new RedisTopics(common)
  await streams.start()
  const stop = async () => {
    await topics.stop()
    await streams.stop()
    channels.stop()
  }
  return { streams, topics, secrets: new RedisSecrets({ client, prefix, clock }), stop }
}

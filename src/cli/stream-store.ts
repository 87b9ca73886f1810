import type { Config } from '../config/schema.ts'
import { MemoryStreams } from '../streams/memory-streams.ts'
import { MemorySecrets, type OneTimeSecrets } from '../streams/secrets.ts'
import type { StreamStore } from '../streams/stream.ts'
import { MemoryTopics, type Topics } from '../streams/topics.ts'
import { systemClock } from '../system.ts'

export interface StreamParts {
  readonly streams: StreamStore
  readonly topics: Topics
  readonly secrets: OneTimeSecrets
  stop(): Promise<void>
}

/** Where streams lie while they can be read, and what gateways tell each other. */
export function openStreams({ realtime }: Pick<Config, 'realtime'>): StreamParts {
  const { bufferEvents: eventsMax, bufferBytes: bytesMax, keepFor: keepMs } = realtime
  const streams = new MemoryStreams({ eventsMax, bytesMax, keepMs, clock: systemClock })
  const topics = new MemoryTopics(systemClock)
  const stop = async () => {
    await streams.stop()
    await topics.stop()
  }
  return { streams, topics, secrets: new MemorySecrets(systemClock), stop }
}

import type { Config } from '../config/schema.ts'
import { MemoryStreams } from '../streams/memory-streams.ts'
import type { StreamStore } from '../streams/stream.ts'
import { systemClock } from '../system.ts'

/** Where streams lie while they can be read. */
export function openStreams({ realtime }: Pick<Config, 'realtime'>): StreamStore {
  const { bufferEvents: eventsMax, bufferBytes: bytesMax, keepFor: keepMs } = realtime
  return new MemoryStreams({ eventsMax, bytesMax, keepMs, clock: systemClock })
}

import type { CacheMetrics } from '../cache/cache-metrics.ts'
import { Invalidations } from '../cache/invalidations.ts'
import { LayeredCache } from '../cache/layered-cache.ts'
import { boundedMap, MemoryLayer } from '../cache/memory-layer.ts'
import { RedisLayer } from '../cache/redis-layer.ts'
import type { Config } from '../config/schema.ts'
import type { Metrics } from '../core/metrics.ts'
import type { RedisConnection } from '../redis/connection.ts'
import { systemClock } from '../system.ts'

/** The answers that this gateway keeps, and where there is a Redis, those that all of them share. */
export function openCache(
  config: Pick<Config, 'cache' | 'redis'>,
  redis: RedisConnection | undefined,
  metrics: CacheMetrics,
): LayeredCache {
  const memory = new MemoryLayer(boundedMap(config.cache.memory))
  const invalidations = new Invalidations()
  const shared =
    redis && config.cache.enabled
      ? new RedisLayer({
          client: redis.client,
          subscriber: redis.subscriber(),
          prefix: config.redis.prefix,
          timeoutMs: config.redis.timeout,
          invalidations,
          memory,
          clock: systemClock,
          metrics,
        })
      : undefined
  return new LayeredCache({ memory, shared, invalidations, clock: systemClock, metrics })
}

/** What the cache tells of itself, as metrics. */
export function countedCache(metrics: Metrics): CacheMetrics {
  return {
    request: (layer, outcome) => metrics.add('helixflow_cache_requests_total', { layer, outcome }),
    holds: (entries, bytes) => {
      metrics.set('helixflow_cache_entries', {}, entries)
      metrics.set('helixflow_cache_bytes', {}, bytes)
    },
  }
}

import { noCacheMetrics } from '../cache/cache-metrics.ts'
import { Invalidations } from '../cache/invalidations.ts'
import { LayeredCache } from '../cache/layered-cache.ts'
import { boundedMap, MemoryLayer } from '../cache/memory-layer.ts'
import type { Settings } from '../config/load.ts'
import { systemClock } from '../system.ts'

/** The answers that this gateway keeps. */
export function openCache({ config }: Settings): LayeredCache {
  return new LayeredCache({
    memory: new MemoryLayer(boundedMap(config.cache.memory)),
    shared: undefined,
    invalidations: new Invalidations(),
    clock: systemClock,
    metrics: noCacheMetrics,
  })
}

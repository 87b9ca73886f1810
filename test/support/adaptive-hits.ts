import { AdaptiveCache, ENTRY_OVERHEAD_BYTES } from '../../src/cache/adaptive-cache.ts'
import { type CountHits, keysOf } from './eviction-rivals.ts'

const BYTES = 1_024

/**
 * What our cache makes of a trace, with room for exactly `capacity` entries. Keys begin with `prefix`: another one makes
 * other hashes, which is all that chance does here.
 */
export function adaptiveHits(prefix: string): CountHits {
  return (trace, capacity) => {
    const names = Array.from({ length: keysOf(trace) }, (_, key) => `${prefix} ${key}`)
    const cache = new AdaptiveCache<true>({ bytesMax: BYTES * capacity })
    let hits = 0
    for (const key of trace) {
      const name = names[key] ?? ''
      if (cache.get(name)) hits += 1
      else cache.set(name, true, BYTES - ENTRY_OVERHEAD_BYTES)
    }
    return hits
  }
}

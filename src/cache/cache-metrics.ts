export type CacheLayerName = 'memory' | 'redis' | 'semantic'
export type CacheOutcome = 'hit' | 'stale' | 'miss' | 'bypass' | 'coalesced' | 'refused' | 'failed'

/** What the cache tells of itself, for whoever counts it. */
export interface CacheMetrics {
  /** One request, or one question to a layer behind the first. */
  request(layer: CacheLayerName, outcome: CacheOutcome): void
  /** What memory holds now. */
  holds(entries: number, bytes: number): void
}

/** For where nobody counts. */
export const noCacheMetrics: CacheMetrics = { request: () => {}, holds: () => {} }

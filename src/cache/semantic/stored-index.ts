import type { NearVector, VectorStore } from '../../contracts/vector-store.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import { withinDeadline } from '../../redis/deadline.ts'
import { directionOf } from './direction.ts'
import type { Located, Nearness, VectorIndex, VectorPlace } from './vector-index.ts'

export interface StoredIndexOptions {
  readonly store: VectorStore
  /** No question waits longer. */
  readonly timeoutMs: number
  readonly clock: Clock
  readonly log: Logger
}

/** After a failure nothing is asked for so long, unless it says itself when: one that stands still costs few their deadline. */
const PAUSE_MS = 1_000

/** In a store that all gateways share. When that fails or is too slow, nothing is like anything: the answer is made. */
export class StoredIndex implements VectorIndex {
  private quietUntilMs = Number.NEGATIVE_INFINITY

  constructor(private readonly options: StoredIndexOptions) {}

  async nearest(
    { tenant, partition }: VectorPlace,
    vector: Float32Array,
    { threshold, limit }: Nearness,
  ): Promise<readonly NearVector[]> {
    const { store, clock, timeoutMs } = this.options
    const direction = directionOf(vector)
    if (!direction) return []
    const query = { organisationId: tenant, partition, direction, threshold, limit }
    return (await this.asking(() => withinDeadline(clock, timeoutMs, store.nearest(query)))) ?? []
  }

  async add({ tenant, partition }: VectorPlace, { key, vector, keepMs }: Located): Promise<void> {
    const { store } = this.options
    const direction = directionOf(vector)
    if (!direction || keepMs < 1) return
    await this.asking(() => store.add({ organisationId: tenant, partition, key, direction, keepMs }))
  }

  async remove({ tenant, partition }: VectorPlace, keys: readonly string[]): Promise<void> {
    await this.asking(() => this.options.store.remove({ organisationId: tenant, partition }, keys))
  }

  private async asking<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    const { clock, log } = this.options
    if (clock.monotonic() < this.quietUntilMs) return undefined
    try {
      return await work()
    } catch (reason) {
      const { message, retryAfterMs = PAUSE_MS } = HelixError.from(reason)
      const nowMs = clock.monotonic()
      // Of many that fail together one is told.
      if (nowMs >= this.quietUntilMs)
        log.warn('the shared index of the semantic cache fails', { cause: message })
      this.quietUntilMs = Math.max(this.quietUntilMs, nowMs + Math.min(retryAfterMs, PAUSE_MS))
      return undefined
    }
  }
}

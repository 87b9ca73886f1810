import { LRUCache } from 'lru-cache'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Terms } from '../../limits/counter.ts'
import { tokenBucket } from '../../limits/token-bucket.ts'

/** Addresses that are remembered; a forgotten one begins anew. */
const ADDRESSES_MAX = 10_000

/** How many new connections an address may open at one gateway. */
export class HandshakeLimits {
  private readonly terms: Terms
  private readonly buckets = new LRUCache<string, ReturnType<typeof tokenBucket.start>>({
    max: ADDRESSES_MAX,
  })

  constructor(
    perSecond: number,
    private readonly clock: Clock,
  ) {
    this.terms = { kind: 'token-bucket', limit: perSecond, windowMs: 1_000, burst: perSecond }
  }

  /** @throws HelixError `rate_limit_exceeded` */
  take(address: string): void {
    const nowMs = Math.floor(this.clock.monotonic())
    const bucket = this.buckets.get(address) ?? tokenBucket.start(this.terms)
    this.buckets.set(address, bucket)
    tokenBucket.advance(this.terms, bucket, nowMs)
    const retryAfterMs = tokenBucket.waitMs(this.terms, bucket, 1, nowMs)
    if (retryAfterMs > 0)
      throw new HelixError('rate_limit_exceeded', 'Too many new connections from this address.', {
        retryAfterMs,
      })
    tokenBucket.take(this.terms, bucket, 1, { atMs: nowMs, name: '' })
  }
}

import type { Counter, Terms } from './counter.ts'

interface Bucket {
  /** In units of one token for one millisecond of the window: whole numbers, so nothing is lost to rounding. */
  level: number
  atMs: number
}

/**
 * `burst` tokens at most, refilled by `limit` per window evenly. In any interval T it admits at most
 * burst + limit x T / window. (Turner, "New directions in communications", 1986.)
 */
export const tokenBucket: Counter<Bucket> = {
  start: (terms) => ({ level: capacity(terms), atMs: Number.NEGATIVE_INFINITY }),
  advance: (terms, bucket, nowMs) => {
    if (nowMs <= bucket.atMs) return
    // A sum beyond what a number holds exactly is beyond the capacity too.
    if (bucket.atMs !== Number.NEGATIVE_INFINITY) bucket.level += terms.limit * (nowMs - bucket.atMs)
    bucket.level = Math.min(capacity(terms), bucket.level)
    bucket.atMs = nowMs
  },
  remaining: (terms, bucket) => Math.floor(bucket.level / terms.windowMs),
  waitMs: (terms, bucket, cost) => {
    if (cost > terms.burst) return Number.POSITIVE_INFINITY
    return Math.max(0, Math.ceil((cost * terms.windowMs - bucket.level) / terms.limit))
  },
  // A gateway's share of a small limit may be nothing, which nothing refills: that does not change with time.
  resetMs: (terms, bucket) =>
    terms.limit === 0 ? terms.windowMs : Math.ceil((capacity(terms) - bucket.level) / terms.limit),
  take: (terms, bucket, cost) => {
    bucket.level -= cost * terms.windowMs
    return bucket.atMs
  },
  adjust: (terms, bucket, _entry, by) => {
    bucket.level = Math.min(capacity(terms), bucket.level - by * terms.windowMs)
  },
  isFresh: (terms, bucket) => bucket.level === capacity(terms),
}

function capacity({ burst, windowMs }: Terms): number {
  return burst * windowMs
}

export interface Bucket {
  /** `+Inf` is infinity. */
  readonly end: number
  /** How many were at most as great. */
  readonly count: number
}

/**
 * The value below which that share of observations lies, as Prometheus reckons it: even spread within a bucket, and beyond
 * the last end that end. Undefined where nothing was observed.
 * @param buckets in any order; without one that ends at infinity there is no answer
 */
export function histogramQuantile(quantile: number, buckets: readonly Bucket[]): number | undefined {
  const sorted = [...buckets].sort((a, b) => a.end - b.end)
  // Buckets are not read in the same instant by all processes: a greater one never holds less.
  let most = 0
  const counts = sorted.map(({ count }) => {
    most = Math.max(most, count)
    return most
  })
  const lastEnd = sorted.at(-1)?.end
  if (sorted.length < 2 || lastEnd !== Number.POSITIVE_INFINITY || !(most > 0)) return undefined
  const rank = quantile * most
  const index = counts.findIndex((count, at) => at === sorted.length - 1 || count >= rank)
  if (index === sorted.length - 1) return sorted[index - 1]?.end
  const end = sorted[index]?.end ?? 0
  if (index === 0 && end <= 0) return end
  const start = index === 0 ? 0 : (sorted[index - 1]?.end ?? 0)
  const below = index === 0 ? 0 : (counts[index - 1] ?? 0)
  return start + (end - start) * ((rank - below) / ((counts[index] ?? 0) - below))
}

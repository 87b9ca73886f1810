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
  outcome: PrefetchOutcome,
  nowMs: number,
): PrefetchLedger {
  const aged = agedLedger(ledger, nowMs)
  switch (outcome.kind) {
    case 'loaded':
      return { ...aged, loadedMs: aged.loadedMs + outcome.loadMs }
    case 'useful':
      return { ...aged, useful: aged.useful + 1 }
    case 'useless':
      return { ...aged, useless: aged.useless + 1, wastedMs: aged.wastedMs + outcome.loadMs }
  }
}

/** What was entered a day ago counts this much of what is entered now: e to the minus first. */
export const DAY_MS = 86_400_000

/**
 * The ledger as it weighs now. This is also how prefetching comes back once it was useless too often: when nothing is
 * prefetched, what speaks against it fades, until too little is left to go by.
 */
export function agedLedger(ledger: PrefetchLedger, nowMs: number): PrefetchLedger {
  const keep = Math.exp(-Math.max(0, nowMs - ledger.updatedMs) / DAY_MS)
  return {
    loadedMs: ledger.loadedMs * keep,
    wastedMs: ledger.wastedMs * keep,
    useful: ledger.useful * keep,
    useless: ledger.useless * keep,
    updatedMs: nowMs,
  }
}

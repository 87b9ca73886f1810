export interface ThreadClaim {
  readonly cores: number
  /** Threads of the engines that compute on the processor already. */
  readonly taken: number
  /** Models that may be asked for: as many engines may come to compute at the same time. */
  readonly models: number
  readonly isOnCard: boolean
}

/** With more engines than this at work at once, waiting in a queue is the smaller part of anybody's trouble. */
const ENGINES_EXPECTED_MAX = 4

/** On a card the processor looks up tokens and samples; more threads than these only wait for each other. */
const CARD_THREADS_MAX = 4

/**
 * Threads for one more engine, so that all of them together are no more than the cores while that is possible. The
 * threads of llama.cpp wait for each other after every piece of work without letting go of their core: two engines that
 * have all cores each do not share them but ruin each other. Measured on 2 cores on which others worked too, tokens per
 * second of two engines together: one thread each 150 to 200, two threads each 5 to 12. The price is that an engine
 * beside idle ones leaves cores unused; `engines.threads` says otherwise.
 */
export function threadsFor({ cores, taken, models, isOnCard }: ThreadClaim): number {
  if (isOnCard) return Math.max(1, Math.min(CARD_THREADS_MAX, Math.floor(cores / 2)))
  const expected = Math.max(1, Math.min(models, ENGINES_EXPECTED_MAX))
  return Math.max(1, Math.min(Math.floor(cores / expected), cores - taken))
}

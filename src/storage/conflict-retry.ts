import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'

/** Either done, or given up by the server in favour of somebody else's work. */
export type Attempt<Result> =
  | { readonly done: true; readonly result: Result }
  | { readonly done: false; readonly reason: unknown }

const RETRIES_MAX = 5

/** The longest wait before the first retry; it grows with each one. */
const FIRST_DELAY_MAX_MS = 10
const DELAY_GROWTH = 3

/**
 * Tries again what lost against others, at most five times. The waits are random, or those who met would meet again;
 * and they grow, so that a crowd thins out.
 * @throws HelixError `storage_unavailable` when it loses every time; what `attempt` throws
 */
export async function retryConflicts<Result>(
  attempt: () => Promise<Attempt<Result>>,
  { clock, random }: { clock: Clock; random: Random },
): Promise<Result> {
  for (let retries = 0; ; retries++) {
    const outcome = await attempt()
    if (outcome.done) return outcome.result
    if (retries === RETRIES_MAX) throw givenUp(outcome.reason)
    await delay(clock, random.uniform() * FIRST_DELAY_MAX_MS * DELAY_GROWTH ** retries)
  }
}

function givenUp(reason: unknown): HelixError {
  const { message } = HelixError.from(reason)
  return new HelixError(
    'storage_unavailable',
    'Too many changes to the same data at the same time. Try again shortly.',
    { internal: `given up after ${RETRIES_MAX} retries: ${message}`, cause: reason },
  )
}

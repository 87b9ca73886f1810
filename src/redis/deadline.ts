import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'

/**
 * What `work` gives, or `storage_unavailable` when that takes longer. Whether it had its effect is not known then.
 *
 * When this process itself was held up, the answer may lie in the socket already: it is read before the time is held
 * to be over.
 */
export function withinDeadline<Result>(
  clock: Clock,
  timeoutMs: number,
  work: Promise<Result>,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const cancel = clock.schedule(timeoutMs, () => {
      setImmediate(() => reject(tooSlow(timeoutMs)))
    })
    work.then(resolve, reject).finally(cancel)
  })
}

function tooSlow(timeoutMs: number): HelixError {
  return new HelixError(
    'storage_unavailable',
    'A store that this needs does not answer. Try again shortly.',
    {
      internal: `no answer within ${timeoutMs} ms`,
    },
  )
}

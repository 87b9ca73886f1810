import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Stoppable } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'

export interface RegularWork {
  readonly everyMs: number
  /** What it is, in the log when it fails: 'usage partitions could not be kept'. */
  readonly failure: string
  work(): Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

export const HOUR_MS = 3_600_000

/** Does something once before it returns, then again and again. A failure is told, and the next time tries again. */
export async function startRegularly({
  everyMs,
  failure,
  work,
  clock,
  log,
}: RegularWork): Promise<Stoppable> {
  let cancel = () => {}
  let stopped = false
  const once = async () => {
    try {
      await work()
    } catch (reason) {
      log.warn(failure, { cause: HelixError.from(reason).message })
    }
    if (stopped) return
    cancel = clock.schedule(everyMs, () => {
      running = once()
    })
  }
  let running = once()
  await running
  return {
    stop: async () => {
      stopped = true
      cancel()
      await running
    },
  }
}

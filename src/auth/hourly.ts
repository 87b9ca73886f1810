import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Stoppable } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'

export interface HourlyOptions {
  /** What it is, in the log when it fails: 'usage partitions could not be kept'. */
  readonly failure: string
  work(): Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

const EVERY_MS = 3_600_000

/** Does something once before it returns, then every hour. A failure is told, and the next hour tries again. */
export async function startHourly({ failure, work, clock, log }: HourlyOptions): Promise<Stoppable> {
  let cancel = () => {}
  let stopped = false
  const once = async () => {
    try {
      await work()
    } catch (reason) {
      log.warn(failure, { cause: HelixError.from(reason).message })
    }
    if (stopped) return
    cancel = clock.schedule(EVERY_MS, () => {
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

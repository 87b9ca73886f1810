import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Stoppable } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Database } from '../storage/database.ts'
import { keepUsagePartitions } from '../storage/usage-partitions.ts'

export interface UsageUpkeepOptions {
  readonly database: Database
  readonly retentionMs: number
  readonly clock: Clock
  readonly log: Logger
}

const EVERY_MS = 3_600_000

/**
 * Keeps the partitions of usage records: once before it returns, then every hour. A failure is told and the next hour
 * tries again: months are made long before they begin, and what has none is kept all the same.
 */
export async function startUsageUpkeep(options: UsageUpkeepOptions): Promise<Stoppable> {
  const { database, retentionMs, clock, log } = options
  let cancel = () => {}
  let stopped = false
  const once = async () => {
    try {
      await keepUsagePartitions(database, { nowMs: clock.now(), retentionMs, log })
    } catch (reason) {
      log.warn('usage partitions could not be kept', { cause: HelixError.from(reason).message })
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

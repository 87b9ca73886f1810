import type { Clock } from '../core/clock.ts'
import type { Stoppable } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Database } from '../storage/database.ts'
import { keepUsagePartitions } from '../storage/usage-partitions.ts'
import { HOUR_MS, startRegularly } from './regularly.ts'

export interface UsageUpkeepOptions {
  readonly database: Database
  readonly retentionMs: number
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Keeps the partitions of usage records. A failure does no harm: months are made long before they begin, and what has
 * none is kept all the same.
 */
export function startUsageUpkeep({
  database,
  retentionMs,
  clock,
  log,
}: UsageUpkeepOptions): Promise<Stoppable> {
  return startRegularly({
    everyMs: HOUR_MS,
    failure: 'usage partitions could not be kept',
    work: () => keepUsagePartitions(database, { nowMs: clock.now(), retentionMs, log }),
    clock,
    log,
  })
}

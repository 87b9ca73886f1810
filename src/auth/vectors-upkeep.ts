import type { Clock } from '../core/clock.ts'
import type { Stoppable } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Database } from '../storage/database.ts'
import { acrossOrganisations } from '../storage/tenancy.ts'
import { removeExpiredVectors, trimTenants } from '../storage/vectors.ts'
import { HOUR_MS, startRegularly } from './regularly.ts'

export interface VectorsUpkeepOptions {
  readonly database: Database
  /** Of one tenant; in between there may be more. */
  readonly entriesMax: number
  readonly clock: Clock
  readonly log: Logger
}

/** Removes vectors whose time is over, and the oldest of a tenant that has too many. */
export function startVectorsUpkeep(options: VectorsUpkeepOptions): Promise<Stoppable> {
  const { database, entriesMax, clock, log } = options
  return startRegularly({
    everyMs: HOUR_MS,
    failure: 'vectors could not be removed',
    work: async () => {
      const nowMs = clock.now()
      const removed = await acrossOrganisations(
        database,
        async (queries) =>
          (await removeExpiredVectors(queries, nowMs)) + (await trimTenants(queries, entriesMax)),
      )
      if (removed > 0) log.info('vectors removed', { vectors: removed })
    },
    clock,
    log,
  })
}

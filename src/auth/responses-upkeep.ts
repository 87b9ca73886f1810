import type { Clock } from '../core/clock.ts'
import type { Stoppable } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Database } from '../storage/database.ts'
import { EXPIRED_AT_ONCE, removeExpiredResponses } from '../storage/responses.ts'
import { acrossOrganisations } from '../storage/tenancy.ts'
import { HOUR_MS, startRegularly } from './regularly.ts'

export interface ResponsesUpkeepOptions {
  readonly database: Database
  readonly clock: Clock
  readonly log: Logger
}

/** Removes responses whose time is over; nobody finds them before that either. */
export function startResponsesUpkeep({ database, clock, log }: ResponsesUpkeepOptions): Promise<Stoppable> {
  return startRegularly({
    everyMs: HOUR_MS,
    failure: 'expired responses could not be removed',
    work: async () => {
      const nowMs = clock.now()
      let responses = 0
      for (;;) {
        const removed = await acrossOrganisations(database, (queries) =>
          removeExpiredResponses(queries, nowMs),
        )
        responses += removed
        if (removed < EXPIRED_AT_ONCE) break
      }
      if (responses > 0) log.info('expired responses removed', { responses })
    },
    clock,
    log,
  })
}

import type { SpendClient, SpendQuery, SpendReservation } from '../contracts/limits.ts'
import type { Clock } from '../core/clock.ts'
import type { Database } from '../storage/database.ts'
import { releaseSpend, reserveSpend, spentOf } from '../storage/spend.ts'
import { inOrganisation } from '../storage/tenancy.ts'

/** What was spent, from the database itself and never from a replica: what one gateway spent all must know of. */
export class SpendService implements SpendClient {
  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
  ) {}

  async spent(organisationId: string, asked: readonly SpendQuery[]): Promise<readonly number[]> {
    if (asked.length === 0) return []
    const nowMs = this.clock.now()
    return inOrganisation(this.database, organisationId, (queries) =>
      spentOf(queries, { organisationId, asked, nowMs }),
    )
  }

  async reserveSpend(reservation: SpendReservation): Promise<number | undefined> {
    if (reservation.claims.length === 0) return undefined
    const nowMs = this.clock.now()
    return inOrganisation(this.database, reservation.organisationId, (queries) =>
      reserveSpend(queries, reservation, nowMs),
    )
  }

  async releaseSpend(organisationId: string, requestIds: readonly string[]): Promise<void> {
    if (requestIds.length === 0) return
    await inOrganisation(this.database, organisationId, (queries) =>
      releaseSpend(queries, { organisationId, requestIds }),
    )
  }
}

import type { TenantQueries } from './tenancy.ts'

/** Ends what a user has open in an organisation. The ids of the sessions that ended. */
export async function endSessions(
  queries: TenantQueries,
  { organisationId, userId, nowMs }: { organisationId: string; userId: string; nowMs: number },
): Promise<readonly string[]> {
  const rows = await queries.query<{ id: string }>(
    `update sessions set revoked_at = $3
     where organisation_id = $1 and user_id = $2 and revoked_at is null and expires_at > $3 returning id`,
    [organisationId, userId, new Date(nowMs)],
  )
  return rows.map(({ id }) => id)
}

import type { TenantQueries } from './tenancy.ts'

/** The channel that carries the ids of whatever stops being a valid credential. */
export const REVOCATIONS_CHANNEL = 'credentials_ended'

/** Everybody who listens is told, at the moment when the transaction commits. */
export async function announceEnd(queries: TenantQueries, subject: string): Promise<void> {
  await queries.query('select pg_notify($1, $2)', [REVOCATIONS_CHANNEL, subject])
}

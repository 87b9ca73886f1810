import { ADVISORY_LOCKS } from './advisory-locks.ts'
import type { TenantQueries } from './tenancy.ts'

/** Who somebody is at an identity provider. */
export interface ExternalIdentity {
  readonly issuer: string
  readonly subject: string
}

/**
 * Until the transaction ends, no other login from a provider finds or makes users: the first two logins of one person
 * at the same moment would both make them.
 */
export async function lockExternalLogins(queries: TenantQueries): Promise<void> {
  await queries.query('select pg_advisory_xact_lock($1)', [ADVISORY_LOCKS.externalLogins])
}

/** The user who was known by this identity before, disabled or not. */
export async function findExternalUser(
  queries: TenantQueries,
  { issuer, subject }: ExternalIdentity,
): Promise<{ readonly id: string; readonly disabled: boolean } | undefined> {
  const rows = await queries.query<{ id: string; disabled: boolean }>(
    `select users.id, users.disabled_at is not null as disabled
     from external_identities join users on users.id = external_identities.user_id
     where issuer = $1 and subject = $2`,
    [issuer, subject],
  )
  return rows[0]
}

/** Whether this provider knows the user already, by whatever subject. */
export async function isKnownToIssuer(
  queries: TenantQueries,
  { issuer, userId }: { issuer: string; userId: string },
): Promise<boolean> {
  const rows = await queries.query(
    'select from external_identities where issuer = $1 and user_id = $2 limit 1',
    [issuer, userId],
  )
  return rows.length > 0
}

export async function insertExternalIdentity(
  queries: TenantQueries,
  { issuer, subject, userId, nowMs }: ExternalIdentity & { userId: string; nowMs: number },
): Promise<void> {
  await queries.query(
    'insert into external_identities (issuer, subject, user_id, created_at) values ($1, $2, $3, $4)',
    [issuer, subject, userId, new Date(nowMs)],
  )
}

import type { RoleGrant } from '../contracts/permissions.ts'
import type { TenantQueries } from './tenancy.ts'

/** A login of one person to one organisation. */
export interface StoredSession {
  readonly id: string
  readonly organisationId: string
  readonly userId: string
  /** Of the refresh token that is good now; each is good once. */
  readonly refreshHash: Buffer
  readonly createdAtMs: number
  readonly expiresAtMs: number
  readonly revokedAtMs: number | undefined
}

export async function insertSession(queries: TenantQueries, session: StoredSession): Promise<void> {
  const createdAt = new Date(session.createdAtMs)
  await queries.query('delete from sessions where expires_at < $1', [createdAt])
  await queries.query(
    `insert into sessions (id, organisation_id, user_id, refresh_hash, created_at, expires_at)
     values ($1, $2, $3, $4, $5, $6)`,
    [
      session.id,
      session.organisationId,
      session.userId,
      session.refreshHash,
      createdAt,
      new Date(session.expiresAtMs),
    ],
  )
}

/** Until the transaction ends, nobody else can renew it. */
export async function lockSession(queries: TenantQueries, id: string): Promise<StoredSession | undefined> {
  const rows = await queries.query<SessionRow>('select * from sessions where id = $1 for update', [id])
  return rows[0] && toSession(rows[0])
}

export async function replaceRefreshHash(
  queries: TenantQueries,
  { id, refreshHash }: { id: string; refreshHash: Buffer },
): Promise<void> {
  await queries.query('update sessions set refresh_hash = $2 where id = $1', [id, refreshHash])
}

export async function revokeSession(
  queries: TenantQueries,
  { id, nowMs }: { id: string; nowMs: number },
): Promise<void> {
  await queries.query('update sessions set revoked_at = coalesce(revoked_at, $2) where id = $1', [
    id,
    new Date(nowMs),
  ])
}

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

/** A session with all that decides what it may do, as it is at this moment. */
export interface SessionCredential {
  readonly session: StoredSession
  /** The user is disabled or the organisation archived. */
  readonly disabled: boolean
  readonly grants: readonly RoleGrant[]
  /** Of the organisation, oldest first, the archived ones left out. */
  readonly projectIds: readonly string[]
}

export async function findSessionCredential(
  queries: TenantQueries,
  id: string,
): Promise<SessionCredential | undefined> {
  const rows = await queries.query<CredentialRow>(
    `select sessions.*,
            users.disabled_at is not null or organisations.archived_at is not null as disabled,
            (select coalesce(json_agg(json_build_object('role', role, 'projectId', memberships.project_id)), '[]')
             from memberships
             where memberships.user_id = sessions.user_id
               and memberships.organisation_id = sessions.organisation_id) as grants,
            (select coalesce(array_agg(projects.id order by projects.created_at, projects.id), '{}')
             from projects
             where projects.organisation_id = sessions.organisation_id and projects.archived_at is null) as project_ids
     from sessions
     join users on users.id = sessions.user_id
     join organisations on organisations.id = sessions.organisation_id
     where sessions.id = $1`,
    [id],
  )
  const [row] = rows
  if (!row) return undefined
  const grants = row.grants.map(({ role, projectId }) => ({ role, projectId: projectId ?? undefined }))
  return { session: toSession(row), disabled: row.disabled, grants, projectIds: row.project_ids }
}

interface SessionRow {
  readonly id: string
  readonly organisation_id: string
  readonly user_id: string
  readonly refresh_hash: Buffer
  readonly created_at: Date
  readonly expires_at: Date
  readonly revoked_at: Date | null
}

interface CredentialRow extends SessionRow {
  readonly disabled: boolean
  readonly grants: readonly { role: RoleGrant['role']; projectId: string | null }[]
  readonly project_ids: string[]
}

function toSession(row: SessionRow): StoredSession {
  return {
    id: row.id,
    organisationId: row.organisation_id,
    userId: row.user_id,
    refreshHash: row.refresh_hash,
    createdAtMs: row.created_at.getTime(),
    expiresAtMs: row.expires_at.getTime(),
    revokedAtMs: row.revoked_at?.getTime(),
  }
}

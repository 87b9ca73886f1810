import type { TenantQueries } from './tenancy.ts'

/** A person, whichever organisations they belong to. */
export interface StoredUser {
  readonly id: string
  readonly email: string
  readonly name: string
  readonly passwordHash: string | undefined
  readonly createdAtMs: number
  readonly disabledAtMs: number | undefined
}

export async function insertUser(queries: TenantQueries, user: StoredUser): Promise<void> {
  await queries.query(
    'insert into users (id, email, name, password_hash, created_at) values ($1, $2, $3, $4, $5)',
    [user.id, user.email, user.name, user.passwordHash ?? null, new Date(user.createdAtMs)],
  )
}

/** In any case of letters. */
export async function findUserByEmail(
  queries: TenantQueries,
  email: string,
): Promise<StoredUser | undefined> {
  const rows = await queries.query<UserRow>('select * from users where email_lower = $1', [
    email.toLowerCase(),
  ])
  return rows[0] && toUser(rows[0])
}

/** Unless another one has taken the place of `replaced` meanwhile. */
export async function replacePasswordHash(
  queries: TenantQueries,
  { id, passwordHash, replaced }: { id: string; passwordHash: string; replaced: string },
): Promise<void> {
  await queries.query('update users set password_hash = $2 where id = $1 and password_hash = $3', [
    id,
    passwordHash,
    replaced,
  ])
}

/** The organisations in which a user has a role, the archived ones left out; oldest first. */
export async function organisationsOf(
  queries: TenantQueries,
  userId: string,
): Promise<readonly { id: string; name: string }[]> {
  return queries.query<{ id: string; name: string }>(
    `select id, name from organisations
     where archived_at is null
       and exists (select from memberships where user_id = $1 and organisation_id = organisations.id)
     order by created_at, id`,
    [userId],
  )
}

interface UserRow {
  readonly id: string
  readonly email: string
  readonly name: string
  readonly password_hash: string | null
  readonly created_at: Date
  readonly disabled_at: Date | null
}

function toUser(row: UserRow): StoredUser {
  return {
    id: row.id,
    email: row.email,
    name: row.name,
    passwordHash: row.password_hash ?? undefined,
    createdAtMs: row.created_at.getTime(),
    disabledAtMs: row.disabled_at?.getTime(),
  }
}

import type { Account } from './accounts.ts'
import type { Database, Queries } from './database.ts'

export interface StoredKey extends Account {
  readonly id: string
  readonly name: string
  readonly secretHmac: Buffer
  readonly createdAtMs: number
  readonly expiresAtMs: number | undefined
  readonly revokedAtMs: number | undefined
}

/** The channel that carries the ids of keys that were revoked. */
export const REVOKED_KEYS_CHANNEL = 'api_key_revoked'

export async function insertKey(database: Queries, key: StoredKey): Promise<void> {
  await database.query(
    `insert into api_keys
       (id, organisation_id, project_id, name, secret_hmac, created_at, expires_at, revoked_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      key.id,
      key.organisationId,
      key.projectId,
      key.name,
      key.secretHmac,
      new Date(key.createdAtMs),
      toDate(key.expiresAtMs),
      toDate(key.revokedAtMs),
    ],
  )
}

/** By the public id alone, whoever's it is: this is how it becomes known who calls. */
export async function findKey(database: Queries, id: string): Promise<StoredKey | undefined> {
  const rows = await database.query<KeyRow>('select * from api_keys where id = $1', [id])
  return rows[0] && toKey(rows[0])
}

/** Newest first. */
export async function listKeys(database: Queries, account: Account): Promise<readonly StoredKey[]> {
  const rows = await database.query<KeyRow>(
    `select * from api_keys where organisation_id = $1 and project_id = $2 order by created_at desc, id`,
    [account.organisationId, account.projectId],
  )
  return rows.map(toKey)
}

/**
 * From the same moment the key is revoked and everybody who listens is told. A second time changes nothing and
 * tells again. Undefined when the account has no such key.
 */
export function revokeKey(
  database: Database,
  account: Account,
  { id, nowMs }: { id: string; nowMs: number },
): Promise<StoredKey | undefined> {
  return database.transaction(async (transaction) => {
    const rows = await transaction.query<KeyRow>(
      `update api_keys set revoked_at = coalesce(revoked_at, $4)
       where id = $1 and organisation_id = $2 and project_id = $3
       returning *`,
      [id, account.organisationId, account.projectId, new Date(nowMs)],
    )
    if (!rows[0]) return undefined
    await transaction.query('select pg_notify($1, $2)', [REVOKED_KEYS_CHANNEL, id])
    return toKey(rows[0])
  })
}

/** The fingerprint of the pepper that every stored HMAC was made with. Undefined before the first start. */
export async function findPepperFingerprint(database: Queries): Promise<Buffer | undefined> {
  const rows = await database.query<{ fingerprint: Buffer }>('select fingerprint from api_key_pepper')
  return rows[0]?.fingerprint
}

/** Stores it unless there is one. */
export async function insertPepperFingerprint(database: Queries, fingerprint: Buffer): Promise<void> {
  await database.query('insert into api_key_pepper (fingerprint) values ($1) on conflict do nothing', [
    fingerprint,
  ])
}

interface KeyRow {
  readonly id: string
  readonly organisation_id: string
  readonly project_id: string
  readonly name: string
  readonly secret_hmac: Buffer
  readonly created_at: Date
  readonly expires_at: Date | null
  readonly revoked_at: Date | null
}

function toKey(row: KeyRow): StoredKey {
  return {
    id: row.id,
    organisationId: row.organisation_id,
    projectId: row.project_id,
    name: row.name,
    secretHmac: row.secret_hmac,
    createdAtMs: row.created_at.getTime(),
    expiresAtMs: row.expires_at?.getTime(),
    revokedAtMs: row.revoked_at?.getTime(),
  }
}

function toDate(atMs: number | undefined): Date | null {
  return atMs === undefined ? null : new Date(atMs)
}

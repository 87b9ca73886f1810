import { ADVISORY_LOCKS } from './advisory-locks.ts'
import type { Queries } from './database.ts'

/** A key pair that tokens are signed with. */
export interface StoredSigningKey {
  /** The `kid` of tokens. */
  readonly id: string
  readonly publicJwk: Readonly<Record<string, unknown>>
  readonly sealedPrivateJwk: Buffer
  readonly createdAtMs: number
  readonly retiredAtMs: number | undefined
}

/** Newest first. */
export async function listSigningKeys(queries: Queries): Promise<readonly StoredSigningKey[]> {
  const rows = await queries.query<Row>('select * from signing_keys order by created_at desc, id desc')
  return rows.map((row) => ({
    id: row.id,
    publicJwk: row.public_jwk,
    sealedPrivateJwk: row.sealed_private_jwk,
    createdAtMs: row.created_at.getTime(),
    retiredAtMs: row.retired_at?.getTime(),
  }))
}

/** Until the transaction ends, nobody else makes or retires one. */
export async function lockSigningKeys(queries: Queries): Promise<void> {
  await queries.query('select pg_advisory_xact_lock($1)', [ADVISORY_LOCKS.signingKeys])
}

/** The new one signs from now on; those before it only verify, and those retired before `forgetMs` are gone. */
export async function replaceSigningKey(
  queries: Queries,
  key: StoredSigningKey,
  forgetMs: number,
): Promise<void> {
  const createdAt = new Date(key.createdAtMs)
  await queries.query('update signing_keys set retired_at = $1 where retired_at is null', [createdAt])
  await queries.query('delete from signing_keys where retired_at < $1', [new Date(forgetMs)])
  await queries.query(
    'insert into signing_keys (id, public_jwk, sealed_private_jwk, created_at) values ($1, $2, $3, $4)',
    [key.id, JSON.stringify(key.publicJwk), key.sealedPrivateJwk, createdAt],
  )
}

interface Row {
  readonly id: string
  readonly public_jwk: Record<string, unknown>
  readonly sealed_private_jwk: Buffer
  readonly created_at: Date
  readonly retired_at: Date | null
}

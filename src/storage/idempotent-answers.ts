import type { TenantQueries } from './tenancy.ts'

/** Whose request it was, and under which name they would recognise it. */
export interface AnswerKey {
  readonly organisationId: string
  readonly actor: string
  readonly keyHash: Buffer
}

export interface StoredAnswer {
  readonly requestHash: Buffer
  readonly sealedAnswer: Buffer
}

/**
 * The answer that this request had before. Until the transaction ends, a second request of that name waits here.
 */
export async function findAnswer(
  queries: TenantQueries,
  { organisationId, actor, keyHash }: AnswerKey,
  sinceMs: number,
): Promise<StoredAnswer | undefined> {
  await queries.query(`select pg_advisory_xact_lock(hashtextextended($1, 0))`, [
    `${organisationId} ${actor} ${keyHash.toString('hex')}`,
  ])
  const rows = await queries.query<{ request_hash: Buffer; sealed_answer: Buffer }>(
    `select request_hash, sealed_answer from idempotent_answers
     where organisation_id = $1 and actor = $2 and key_hash = $3 and created_at > $4`,
    [organisationId, actor, keyHash, new Date(sinceMs)],
  )
  return rows[0] && { requestHash: rows[0].request_hash, sealedAnswer: rows[0].sealed_answer }
}

/** Keeps it, and removes what nobody may ask for any more: what is older than `keepMs`. */
export async function putAnswer(
  queries: TenantQueries,
  {
    organisationId,
    actor,
    keyHash,
    requestHash,
    sealedAnswer,
    nowMs,
    keepMs,
  }: AnswerKey & StoredAnswer & { nowMs: number; keepMs: number },
): Promise<void> {
  await queries.query('delete from idempotent_answers where created_at < $1', [new Date(nowMs - keepMs)])
  await queries.query(
    `insert into idempotent_answers (organisation_id, actor, key_hash, request_hash, sealed_answer, created_at)
     values ($1, $2, $3, $4, $5, $6)
     on conflict (organisation_id, actor, key_hash)
       do update set request_hash = $4, sealed_answer = $5, created_at = $6`,
    [organisationId, actor, keyHash, requestHash, sealedAnswer, new Date(nowMs)],
  )
}

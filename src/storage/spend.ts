import type { LimitHolder, SpendClaim, SpendQuery, SpendReservation } from '../contracts/limits.ts'
import { ADVISORY_LOCKS } from './advisory-locks.ts'
import type { TenantQueries } from './tenancy.ts'

/** Whose spending a row of `spend_daily` is, by the kind of subject that is asked for. */
const OF_SUBJECT: Readonly<Record<LimitHolder, string>> = {
  organisation: '',
  project: 'and spend.project_id = asked.id',
  key: 'and spend.key_id = asked.id',
  user: 'and spend.user_id = asked.id',
}

/** One branch for each kind: only then does each find its rows by its own index. */
const SPENT = Object.entries(OF_SUBJECT)
  .map(
    ([kind, ofSubject]) => `when '${kind}' then (
        select sum(cost) from spend_daily as spend
        where spend.organisation_id = $1 and spend.day >= asked.day ${ofSubject}
          and (asked.model is null or spend.model = asked.model))`,
  )
  .join('\n')

const READ = `
  select coalesce(case asked.kind ${SPENT} end, 0) + coalesce((
      select sum(cost) from spend_reservations as reserved
      where reserved.organisation_id = $1 and reserved.subject_kind = asked.kind and reserved.subject_id = asked.id
        and reserved.model = coalesce(asked.model, '') and reserved.expires_at > $3), 0) as spent
  from rows from (json_to_recordset($2::json) as (kind text, id text, model text, day date))
    with ordinality as asked (kind, id, model, day, place)
  order by place`

/** What each subject has spent since its day began, and what is reserved. Billionths, in the order of the queries. */
export async function spentOf(
  queries: TenantQueries,
  { organisationId, asked, nowMs }: { organisationId: string; asked: readonly SpendQuery[]; nowMs: number },
): Promise<readonly number[]> {
  const rows = await queries.query<{ spent: string }>(READ, [
    organisationId,
    JSON.stringify(
      asked.map(({ subject, model, sinceMs }) => ({
        ...subject,
        model,
        day: new Date(sinceMs).toISOString().slice(0, 10),
      })),
    ),
    new Date(nowMs),
  ])
  return rows.map(({ spent }) => Number(spent))
}

/**
 * All of the claims or none, one request of the organisation after the other until the transaction ends: two that each
 * saw the last of a budget would both take it.
 * @returns the index of the first claim that has too little left
 */
export async function reserveSpend(
  queries: TenantQueries,
  { organisationId, requestId, expiresAtMs, claims }: SpendReservation,
  nowMs: number,
): Promise<number | undefined> {
  await queries.query('select pg_advisory_xact_lock($1, hashtext($2))', [
    ADVISORY_LOCKS.spend,
    organisationId,
  ])
  const known = await queries.query(
    'select from spend_reservations where organisation_id = $1 and request_id = $2 and expires_at > $3 limit 1',
    [organisationId, requestId, new Date(nowMs)],
  )
  if (known.length > 0) return undefined
  const spent = await spentOf(queries, { organisationId, asked: claims, nowMs })
  const refused = claims.findIndex(({ amount, cost }, place) => (spent[place] ?? 0) + cost > amount)
  if (refused >= 0) return refused
  await queries.query(
    `insert into spend_reservations
       (organisation_id, request_id, subject_kind, subject_id, model, cost, expires_at)
     select $1, $2, kind, id, coalesce(model, ''), max(cost), $4
     from json_to_recordset($3::json) as claim (kind text, id text, model text, cost bigint)
     group by 3, 4, 5
     on conflict (request_id, organisation_id, subject_kind, subject_id, model) do update set
       cost = excluded.cost, expires_at = excluded.expires_at`,
    [organisationId, requestId, JSON.stringify(claims.map(reservedOf)), new Date(expiresAtMs)],
  )
  return undefined
}

export async function releaseSpend(
  queries: TenantQueries,
  { organisationId, requestIds }: { organisationId: string; requestIds: readonly string[] },
): Promise<void> {
  await queries.query('delete from spend_reservations where organisation_id = $1 and request_id = any ($2)', [
    organisationId,
    requestIds,
  ])
}

/** Two budgets of different periods reserve the same thing, once. */
function reservedOf({ subject, model, cost }: SpendClaim) {
  return { ...subject, model, cost }
}

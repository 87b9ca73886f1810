import type {
  FoundResponse,
  ResponseChain,
  ResponseKey,
  ResponseLink,
  ResponseStatus,
  SavedResponse,
} from '../contracts/responses-store.ts'
import type { TenantQueries } from './tenancy.ts'

export interface ResponseTimes {
  readonly nowMs: number
  /** How long a response is kept. */
  readonly keepMs: number
}

/**
 * One that is there already, of a gateway that was cut off and another that went on with it, or of a call whose answer was
 * lost, is updated as `updateResponse` does.
 */
export async function insertResponse(
  queries: TenantQueries,
  response: SavedResponse,
  { nowMs, keepMs }: ResponseTimes,
): Promise<void> {
  const { id, organisationId, projectId, actor, previousId, status, model, background } = response
  await queries.query(
    `insert into responses (id, organisation_id, project_id, actor, previous_id, status, model, background, input,
       output, response, size_bytes, created_at, expires_at, lease_until)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
     on conflict (id) do update set status = excluded.status, output = excluded.output, response = excluded.response,
       size_bytes = excluded.size_bytes, lease_until = excluded.lease_until
     where responses.organisation_id = excluded.organisation_id and responses.project_id = excluded.project_id
       and (responses.lease_until is not null or excluded.status in ('completed', 'incomplete'))`,
    [
      id,
      organisationId,
      projectId,
      actor,
      previousId ?? null,
      status,
      model,
      background,
      response.input,
      response.output,
      response.response,
      sizeOf(response),
      new Date(response.createdAtMs),
      new Date(nowMs + keepMs),
      leaseEnd(response, nowMs),
    ],
  )
}

/**
 * What has ended stays so, unless this is its proper end: the gateway that a response was taken from may say later than the
 * one that went on with it that it failed. @returns false when there was nothing to be changed
 */
export async function updateResponse(
  queries: TenantQueries,
  response: SavedResponse,
  nowMs: number,
): Promise<boolean> {
  const { id, organisationId, projectId, status, output } = response
  const rows = await queries.query(
    `update responses set status = $4, output = $5, response = $6, size_bytes = $7, lease_until = $8
     where id = $1 and organisation_id = $2 and project_id = $3
       and (lease_until is not null or $4 in ('completed', 'incomplete')) returning id`,
    [
      id,
      organisationId,
      projectId,
      status,
      output,
      response.response,
      sizeOf(response),
      leaseEnd(response, nowMs),
    ],
  )
  return rows.length > 0
}

export async function findResponse(
  queries: TenantQueries,
  { id, organisationId, projectId }: ResponseKey,
  nowMs: number,
): Promise<FoundResponse | undefined> {
  const [row] = await queries.query<ResponseRow>(
    `select actor, previous_id, status, model, background, created_at, input::text, output::text, response::text,
       coalesce(lease_until < $4, false) as abandoned
     from responses where id = $1 and organisation_id = $2 and project_id = $3 and expires_at > $4`,
    [id, organisationId, projectId, new Date(nowMs)],
  )
  return (
    row && {
      id,
      organisationId,
      projectId,
      actor: row.actor,
      previousId: row.previous_id ?? undefined,
      status: row.status,
      model: row.model,
      background: row.background,
      createdAtMs: row.created_at.getTime(),
      input: row.input,
      output: row.output,
      response: row.response,
      abandoned: row.abandoned,
    }
  )
}

const CHAIN_RESPONSES_MAX = 1_000
const CHAIN_BYTES_MAX = 16 * 2 ** 20

/** A response and those before it in the same project, the oldest first; at most so many, and so much text. */
export async function responseChain(
  queries: TenantQueries,
  { id, organisationId, projectId }: ResponseKey,
  nowMs: number,
): Promise<ResponseChain> {
  const rows = await queries.query<LinkRow>(CHAIN, [
    id,
    organisationId,
    projectId,
    new Date(nowMs),
    CHAIN_RESPONSES_MAX,
    CHAIN_BYTES_MAX,
  ])
  const [oldest] = rows
  const links: readonly ResponseLink[] = rows.map(({ previous_id, depth, bytes, ...link }) => link)
  if (!oldest || oldest.previous_id === null) return { links, extent: 'whole' }
  const isLong = oldest.depth >= CHAIN_RESPONSES_MAX || Number(oldest.bytes) > CHAIN_BYTES_MAX
  return { links, extent: isLong ? 'long' : 'broken' }
}

/** The way back is gone without its texts, which are read for what is found in the end. */
const CHAIN = `
  with recursive chain as (
    select id, previous_id, 1 as depth, size_bytes::bigint as bytes
    from responses where id = $1 and organisation_id = $2 and project_id = $3 and expires_at > $4
    union all
    select earlier.id, earlier.previous_id, chain.depth + 1, chain.bytes + earlier.size_bytes
    from chain join responses as earlier on earlier.id = chain.previous_id
    where earlier.organisation_id = $2 and earlier.project_id = $3 and earlier.expires_at > $4
      and chain.depth < $5 and chain.bytes <= $6
  )
  select found.id, found.status, found.input::text, found.output::text, chain.previous_id, chain.depth, chain.bytes
  from chain join responses as found on found.id = chain.id
  where found.organisation_id = $2 and found.project_id = $3
  order by chain.depth desc`

/** @returns whether it was there */
export async function removeResponse(
  queries: TenantQueries,
  { id, organisationId, projectId }: ResponseKey,
): Promise<boolean> {
  const rows = await queries.query(
    'delete from responses where id = $1 and organisation_id = $2 and project_id = $3 returning id',
    [id, organisationId, projectId],
  )
  return rows.length > 0
}

/** Those of them that have not ended are answered for so much longer, whoever's they are. */
export async function renewResponses(
  queries: TenantQueries,
  { ids, untilMs }: { readonly ids: readonly string[]; readonly untilMs: number },
): Promise<void> {
  await queries.query(
    'update responses set lease_until = $2 where id = any ($1) and lease_until is not null',
    [ids, new Date(untilMs)],
  )
}

/** Removed by one statement, so that each ends in time however many there are. */
export const EXPIRED_AT_ONCE = 1_000

/** The oldest of them. @returns how many; where it is `EXPIRED_AT_ONCE` there may be more */
export async function removeExpiredResponses(queries: TenantQueries, nowMs: number): Promise<number> {
  const rows = await queries.query(
    `delete from responses where id = any (array(
       select id from responses where expires_at <= $1 order by expires_at limit $2)) returning id`,
    [new Date(nowMs), EXPIRED_AT_ONCE],
  )
  return rows.length
}

function sizeOf({ input, output }: SavedResponse): number {
  return Buffer.byteLength(input) + Buffer.byteLength(output)
}

function leaseEnd({ leaseMs }: SavedResponse, nowMs: number): Date | null {
  return leaseMs === undefined ? null : new Date(nowMs + leaseMs)
}

interface ResponseRow extends Record<string, unknown> {
  readonly actor: string
  readonly previous_id: string | null
  readonly status: ResponseStatus
  readonly model: string
  readonly background: boolean
  readonly created_at: Date
  readonly input: string
  readonly output: string
  readonly response: string
  readonly abandoned: boolean
}

interface LinkRow extends Record<string, unknown> {
  readonly id: string
  readonly status: ResponseStatus
  readonly input: string
  readonly output: string
  readonly previous_id: string | null
  readonly depth: number
  /** A bigint comes as text. */
  readonly bytes: string
}

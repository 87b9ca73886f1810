import type { KeptVector, NearVector, VectorPlace, VectorQuery } from '../contracts/vector-store.ts'
import type { TenantQueries } from './tenancy.ts'

/**
 * Compares with every vector of the place. No approximate index: one over all tenants would find its neighbours first
 * and lose those of other places afterwards, and so most of what it found; and a place has few enough to look at each.
 * What must be equal is in the index that leads to them, and only what is left has its distance computed.
 */
export async function nearestVectors(
  queries: TenantQueries,
  { organisationId, partition, direction, threshold, limit }: VectorQuery,
  nowMs: number,
): Promise<readonly NearVector[]> {
  return queries.query<{ key: string; similarity: number }>(
    `select key, 1 - distance as similarity
     from (
       select key, direction <=> $4::vector as distance from semantic_vectors
       where organisation_id = $1 and partition = $2 and dimensions = $3 and expires_at > $5
       order by distance, key limit $6
     ) as nearest
     where 1 - distance >= $7::float8
     order by distance, key`,
    [organisationId, partition, direction.length, binary(direction), new Date(nowMs), limit, threshold],
  )
}

export async function putVector(
  queries: TenantQueries,
  { organisationId, partition, key, direction, keepMs }: KeptVector,
  nowMs: number,
): Promise<void> {
  await queries.query(
    `insert into semantic_vectors (organisation_id, partition, key, dimensions, direction, expires_at)
     values ($1, $2, $3, $4, $5::vector, $6)
     on conflict (organisation_id, partition, key) do update
     set number = default, dimensions = excluded.dimensions, direction = excluded.direction,
         expires_at = excluded.expires_at`,
    [organisationId, partition, key, direction.length, binary(direction), new Date(nowMs + keepMs)],
  )
}

/** Removes the oldest of a place, so that so many are left. */
export async function trimPartition(
  queries: TenantQueries,
  { organisationId, partition }: VectorPlace,
  entriesMax: number,
): Promise<void> {
  await queries.query(
    `delete from semantic_vectors where organisation_id = $1 and partition = $2 and number <= (
       select number from semantic_vectors where organisation_id = $1 and partition = $2
       order by number desc offset $3 limit 1)`,
    [organisationId, partition, entriesMax],
  )
}

export async function removeVectors(
  queries: TenantQueries,
  { organisationId, partition }: VectorPlace,
  keys: readonly string[],
): Promise<void> {
  await queries.query(
    'delete from semantic_vectors where organisation_id = $1 and partition = $2 and key = any ($3::text[])',
    [organisationId, partition, keys],
  )
}

/** @returns how many were there */
export async function removeExpiredVectors(queries: TenantQueries, nowMs: number): Promise<number> {
  const rows = await queries.query('delete from semantic_vectors where expires_at <= $1 returning number', [
    new Date(nowMs),
  ])
  return rows.length
}

/** Removes the oldest of every tenant that has more than so many. @returns how many were there */
export async function trimTenants(queries: TenantQueries, entriesMax: number): Promise<number> {
  const full = await queries.query<{ tenant: string; number: string }>(FULL_TENANTS, [entriesMax])
  let removed = 0
  for (const { tenant, number } of full) {
    const rows = await queries.query(
      'delete from semantic_vectors where organisation_id = $1 and number <= $2 returning number',
      [tenant, number],
    )
    removed += rows.length
  }
  return removed
}

/** From tenant to tenant by their index, which skips what lies between. */
const FULL_TENANTS = `
  with recursive tenants as (
    (select organisation_id as tenant from semantic_vectors order by organisation_id limit 1)
    union all
    select (select organisation_id from semantic_vectors where organisation_id > tenants.tenant
            order by organisation_id limit 1)
    from tenants where tenants.tenant is not null
  )
  select tenant, number from tenants cross join lateral (
    select number from semantic_vectors where organisation_id = tenants.tenant
    order by number desc offset $1 limit 1) as first_too_many
  where tenant is not null`

/** As pgvector reads one from the wire: its dimensions, two bytes that it keeps for itself, and the numbers. */
function binary(direction: Float32Array): Buffer {
  const bytes = Buffer.alloc(4 + 4 * direction.length)
  bytes.writeUInt16BE(direction.length, 0)
  for (const [at, one] of direction.entries()) bytes.writeFloatBE(one, 4 + 4 * at)
  return bytes
}

import type { Account } from './accounts.ts'
import { beforePosition, type Page } from './page.ts'
import type { TenantQueries } from './tenancy.ts'

export interface StoredServiceAccount extends Account {
  readonly id: string
  readonly name: string
  readonly role: 'admin' | 'developer' | 'viewer' | 'billing'
  readonly createdAtMs: number
  readonly disabledAtMs: number | undefined
}

export async function insertServiceAccount(queries: TenantQueries, row: StoredServiceAccount): Promise<void> {
  await queries.query(
    `insert into service_accounts (id, organisation_id, project_id, name, role, created_at)
     values ($1, $2, $3, $4, $5, $6)`,
    [row.id, row.organisationId, row.projectId, row.name, row.role, new Date(row.createdAtMs)],
  )
}

export async function findServiceAccount(
  queries: TenantQueries,
  { organisationId, id }: { organisationId: string; id: string },
): Promise<StoredServiceAccount | undefined> {
  const rows = await queries.query<Row>(
    'select * from service_accounts where organisation_id = $1 and id = $2',
    [organisationId, id],
  )
  return rows[0] && toServiceAccount(rows[0])
}

/** Newest first. `among` are projects; undefined: all. */
export async function listServiceAccounts(
  queries: TenantQueries,
  { organisationId, among }: { organisationId: string; among: readonly string[] | undefined },
  page: Page,
): Promise<readonly StoredServiceAccount[]> {
  const rows = await queries.query<Row>(
    `select * from service_accounts
     where organisation_id = $1 and ($2::text[] is null or project_id = any ($2))
       and (created_at, id) < ($3, $4)
     order by created_at desc, id desc limit $5`,
    [organisationId, among ?? null, ...beforePosition(page), page.limit],
  )
  return rows.map(toServiceAccount)
}

/** A second time changes nothing. */
export async function disableServiceAccount(
  queries: TenantQueries,
  { organisationId, id, nowMs }: { organisationId: string; id: string; nowMs: number },
): Promise<StoredServiceAccount | undefined> {
  const rows = await queries.query<Row>(
    `update service_accounts set disabled_at = coalesce(disabled_at, $3)
     where organisation_id = $1 and id = $2 returning *`,
    [organisationId, id, new Date(nowMs)],
  )
  return rows[0] && toServiceAccount(rows[0])
}

interface Row {
  readonly id: string
  readonly organisation_id: string
  readonly project_id: string
  readonly name: string
  readonly role: StoredServiceAccount['role']
  readonly created_at: Date
  readonly disabled_at: Date | null
}

function toServiceAccount(row: Row): StoredServiceAccount {
  return {
    id: row.id,
    organisationId: row.organisation_id,
    projectId: row.project_id,
    name: row.name,
    role: row.role,
    createdAtMs: row.created_at.getTime(),
    disabledAtMs: row.disabled_at?.getTime(),
  }
}

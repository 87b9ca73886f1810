import { DEFAULT_ORGANISATION, DEFAULT_PROJECT } from '../contracts/auth.ts'
import { afterPosition, beforePosition, type Page } from './page.ts'
import type { TenantQueries } from './tenancy.ts'

/** Whose something is. Every row that belongs to somebody carries both. */
export interface Account {
  readonly organisationId: string
  readonly projectId: string
}

export const DEFAULT_ACCOUNT: Account = { organisationId: DEFAULT_ORGANISATION, projectId: DEFAULT_PROJECT }

export interface StoredOrganisation {
  readonly id: string
  readonly name: string
  readonly createdAtMs: number
  readonly archivedAtMs: number | undefined
}

export interface StoredProject extends StoredOrganisation {
  readonly organisationId: string
}

/** Makes the default organisation and its project where they are missing, from however many processes. */
export async function ensureDefaultAccount(queries: TenantQueries, nowMs: number): Promise<void> {
  const { organisationId, projectId } = DEFAULT_ACCOUNT
  const createdAt = new Date(nowMs)
  await queries.query(
    `insert into organisations (id, name, created_at) values ($1, 'Default', $2) on conflict do nothing`,
    [organisationId, createdAt],
  )
  await queries.query(
    `insert into projects (id, organisation_id, name, created_at) values ($1, $2, 'Default', $3)
     on conflict do nothing`,
    [projectId, organisationId, createdAt],
  )
}

export async function insertOrganisation(queries: TenantQueries, row: StoredOrganisation): Promise<void> {
  await queries.query('insert into organisations (id, name, created_at) values ($1, $2, $3)', [
    row.id,
    row.name,
    new Date(row.createdAtMs),
  ])
}

export async function findOrganisation(
  queries: TenantQueries,
  id: string,
): Promise<StoredOrganisation | undefined> {
  const rows = await queries.query<Row>('select * from organisations where id = $1', [id])
  return rows[0] && toOrganisation(rows[0])
}

/** Newest first. */
export async function listOrganisations(
  queries: TenantQueries,
  page: Page,
): Promise<readonly StoredOrganisation[]> {
  const rows = await queries.query<Row>(
    `select * from organisations where (created_at, id) < ($1, $2)
     order by created_at desc, id desc limit $3`,
    [...beforePosition(page), page.limit],
  )
  return rows.map(toOrganisation)
}

export async function renameOrganisation(
  queries: TenantQueries,
  { id, name }: { id: string; name: string },
): Promise<StoredOrganisation | undefined> {
  const rows = await queries.query<Row>('update organisations set name = $2 where id = $1 returning *', [
    id,
    name,
  ])
  return rows[0] && toOrganisation(rows[0])
}

/** A second time changes nothing. */
export async function archiveOrganisation(
  queries: TenantQueries,
  { id, nowMs }: { id: string; nowMs: number },
): Promise<StoredOrganisation | undefined> {
  const rows = await queries.query<Row>(
    'update organisations set archived_at = coalesce(archived_at, $2) where id = $1 returning *',
    [id, new Date(nowMs)],
  )
  return rows[0] && toOrganisation(rows[0])
}

export async function insertProject(queries: TenantQueries, row: StoredProject): Promise<void> {
  await queries.query(
    'insert into projects (id, organisation_id, name, created_at) values ($1, $2, $3, $4)',
    [row.id, row.organisationId, row.name, new Date(row.createdAtMs)],
  )
}

export async function findProject(
  queries: TenantQueries,
  { organisationId, projectId }: Account,
): Promise<StoredProject | undefined> {
  const rows = await queries.query<ProjectRow>(
    'select * from projects where organisation_id = $1 and id = $2',
    [organisationId, projectId],
  )
  return rows[0] && toProject(rows[0])
}

export interface ProjectFilter {
  readonly organisationId: string
  /** Only these; undefined: all. */
  readonly among: readonly string[] | undefined
  readonly archived: boolean
}

/** Oldest first. */
export async function listProjects(
  queries: TenantQueries,
  { organisationId, among, archived }: ProjectFilter,
  page: Page,
): Promise<readonly StoredProject[]> {
  const rows = await queries.query<ProjectRow>(
    `select * from projects
     where organisation_id = $1 and ($2::text[] is null or id = any ($2)) and ($3 or archived_at is null)
       and (created_at, id) > ($4, $5)
     order by created_at, id limit $6`,
    [organisationId, among ?? null, archived, ...afterPosition(page), page.limit],
  )
  return rows.map(toProject)
}

export async function renameProject(
  queries: TenantQueries,
  { organisationId, projectId, name }: Account & { name: string },
): Promise<StoredProject | undefined> {
  const rows = await queries.query<ProjectRow>(
    'update projects set name = $3 where organisation_id = $1 and id = $2 returning *',
    [organisationId, projectId, name],
  )
  return rows[0] && toProject(rows[0])
}

/** A second time changes nothing. */
export async function archiveProject(
  queries: TenantQueries,
  { organisationId, projectId, nowMs }: Account & { nowMs: number },
): Promise<StoredProject | undefined> {
  const rows = await queries.query<ProjectRow>(
    `update projects set archived_at = coalesce(archived_at, $3)
     where organisation_id = $1 and id = $2 returning *`,
    [organisationId, projectId, new Date(nowMs)],
  )
  return rows[0] && toProject(rows[0])
}

interface Row {
  readonly id: string
  readonly name: string
  readonly created_at: Date
  readonly archived_at: Date | null
}

interface ProjectRow extends Row {
  readonly organisation_id: string
}

function toOrganisation(row: Row): StoredOrganisation {
  return {
    id: row.id,
    name: row.name,
    createdAtMs: row.created_at.getTime(),
    archivedAtMs: row.archived_at?.getTime(),
  }
}

function toProject(row: ProjectRow): StoredProject {
  return { ...toOrganisation(row), organisationId: row.organisation_id }
}

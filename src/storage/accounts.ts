import type { Queries } from './database.ts'

/** Whose something is. Every row that belongs to somebody carries both. */
export interface Account {
  readonly organisationId: string
  readonly projectId: string
}

/** What belongs to nobody in particular belongs here. */
export const DEFAULT_ACCOUNT: Account = { organisationId: 'org_default', projectId: 'proj_default' }

/** Makes the default organisation and its project where they are missing, from however many processes. */
export async function ensureDefaultAccount(database: Queries, nowMs: number): Promise<void> {
  const { organisationId, projectId } = DEFAULT_ACCOUNT
  const createdAt = new Date(nowMs)
  await database.query(
    `insert into organisations (id, name, created_at) values ($1, 'Default', $2) on conflict do nothing`,
    [organisationId, createdAt],
  )
  await database.query(
    `insert into projects (id, organisation_id, name, created_at) values ($1, $2, 'Default', $3)
     on conflict do nothing`,
    [projectId, organisationId, createdAt],
  )
}

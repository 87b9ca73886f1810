import type { LimitRule } from '../contracts/limits.ts'
import type { RoleGrant } from '../contracts/permissions.ts'
import type { Account } from './accounts.ts'
import type { Queries } from './database.ts'
import { type LimitRuleRow, toLimitRule } from './limit-rule-row.ts'
import { beforePosition, type Page, toDate } from './page.ts'
import type { TenantQueries } from './tenancy.ts'

export interface StoredKey extends Account {
  readonly id: string
  readonly name: string
  readonly userId: string | undefined
  readonly serviceAccountId: string | undefined
  readonly secretHmac: Buffer
  readonly scopes: readonly string[]
  readonly models: readonly string[] | undefined
  readonly ipRules: readonly string[] | undefined
  readonly createdAtMs: number
  readonly expiresAtMs: number | undefined
  readonly revokedAtMs: number | undefined
  readonly replacedBy: string | undefined
}

/** A key with all that decides whether it is good: the state of its project, organisation and owner. */
export interface KeyCredential {
  readonly key: StoredKey
  /** Its organisation or project was archived, or its owner disabled. */
  readonly disabled: boolean
  /** What its owner may; undefined where the key belongs to nobody but its project. */
  readonly ownerGrants: readonly RoleGrant[] | undefined
  /** All that lies on it, its owner, its project or its organisation. */
  readonly limitRules: readonly LimitRule[]
}

export async function insertKey(queries: TenantQueries, key: StoredKey): Promise<void> {
  await queries.query(
    `insert into api_keys
       (id, organisation_id, project_id, name, user_id, service_account_id, secret_hmac, scopes, models, ip_rules,
        created_at, expires_at, revoked_at, replaced_by)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    [
      key.id,
      key.organisationId,
      key.projectId,
      key.name,
      key.userId ?? null,
      key.serviceAccountId ?? null,
      key.secretHmac,
      key.scopes,
      key.models ?? null,
      key.ipRules ?? null,
      new Date(key.createdAtMs),
      toDate(key.expiresAtMs),
      toDate(key.revokedAtMs),
      key.replacedBy ?? null,
    ],
  )
}

/** By the public id alone, whoever's it is: this is how it becomes known who calls. */
export async function findKeyCredential(
  queries: TenantQueries,
  id: string,
): Promise<KeyCredential | undefined> {
  const rows = await queries.query<CredentialRow>(
    `select api_keys.*,
            organisations.archived_at is not null or projects.archived_at is not null
              or users.disabled_at is not null or service_accounts.disabled_at is not null as disabled,
            service_accounts.role as service_role,
            (select coalesce(json_agg(json_build_object('role', role, 'projectId', memberships.project_id)), '[]')
             from memberships
             where memberships.user_id = api_keys.user_id
               and memberships.organisation_id = api_keys.organisation_id) as grants,
            (select coalesce(json_agg(limit_rules), '[]')
             from limit_rules
             where limit_rules.organisation_id = api_keys.organisation_id
               and limit_rules.holder_id = any (array[
                 api_keys.organisation_id, api_keys.project_id, api_keys.id, api_keys.user_id])) as limit_rules
     from api_keys
     join organisations on organisations.id = api_keys.organisation_id
     join projects on projects.id = api_keys.project_id
     left join users on users.id = api_keys.user_id
     left join service_accounts on service_accounts.id = api_keys.service_account_id
     where api_keys.id = $1`,
    [id],
  )
  return rows[0] && toCredential(rows[0])
}

export async function findKey(
  queries: TenantQueries,
  { organisationId, id }: { organisationId: string; id: string },
): Promise<StoredKey | undefined> {
  const rows = await queries.query<KeyRow>('select * from api_keys where organisation_id = $1 and id = $2', [
    organisationId,
    id,
  ])
  return rows[0] && toKey(rows[0])
}

export interface KeyFilter {
  readonly organisationId: string
  /** Only of these projects; undefined: all. */
  readonly among: readonly string[] | undefined
  readonly userId?: string | undefined
  readonly serviceAccountId?: string | undefined
  readonly state?: 'active' | 'expired' | 'revoked' | undefined
  readonly nowMs: number
}

/** Newest first. */
export async function listKeys(
  queries: TenantQueries,
  filter: KeyFilter,
  page: Page,
): Promise<readonly StoredKey[]> {
  const rows = await queries.query<KeyRow>(
    `select * from api_keys
     where organisation_id = $1
       and ($2::text[] is null or project_id = any ($2))
       and ($3::text is null or user_id = $3)
       and ($4::text is null or service_account_id = $4)
       and ($5::text is null or $5 = case
             when revoked_at is not null then 'revoked'
             when expires_at <= $6 then 'expired'
             else 'active' end)
       and (created_at, id) < ($7, $8)
     order by created_at desc, id desc limit $9`,
    [
      filter.organisationId,
      filter.among ?? null,
      filter.userId ?? null,
      filter.serviceAccountId ?? null,
      filter.state ?? null,
      new Date(filter.nowMs),
      ...beforePosition(page),
      page.limit,
    ],
  )
  return rows.map(toKey)
}

/** A second time changes nothing. */
export async function revokeKey(
  queries: TenantQueries,
  { organisationId, id, nowMs }: { organisationId: string; id: string; nowMs: number },
): Promise<StoredKey | undefined> {
  const rows = await queries.query<KeyRow>(
    `update api_keys set revoked_at = coalesce(revoked_at, $3)
     where organisation_id = $1 and id = $2 returning *`,
    [organisationId, id, new Date(nowMs)],
  )
  return rows[0] && toKey(rows[0])
}

/**
 * Lets a key end at that time, or earlier where it would anyway, in favour of another. Undefined when it was revoked
 * or replaced before.
 */
export async function replaceKey(
  queries: TenantQueries,
  {
    organisationId,
    id,
    replacedBy,
    endsAtMs,
  }: { organisationId: string; id: string; replacedBy: string; endsAtMs: number },
): Promise<StoredKey | undefined> {
  const rows = await queries.query<KeyRow>(
    `update api_keys set replaced_by = $3, expires_at = least(expires_at, $4)
     where organisation_id = $1 and id = $2 and revoked_at is null and replaced_by is null returning *`,
    [organisationId, id, replacedBy, new Date(endsAtMs)],
  )
  return rows[0] && toKey(rows[0])
}

/** Revokes what a user has in an organisation. The ids of the keys that ended. */
export async function revokeKeysOfUser(
  queries: TenantQueries,
  { organisationId, userId, nowMs }: { organisationId: string; userId: string; nowMs: number },
): Promise<readonly string[]> {
  const rows = await queries.query<{ id: string }>(
    `update api_keys set revoked_at = $3
     where organisation_id = $1 and user_id = $2 and revoked_at is null returning id`,
    [organisationId, userId, new Date(nowMs)],
  )
  return rows.map(({ id }) => id)
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
  readonly user_id: string | null
  readonly service_account_id: string | null
  readonly secret_hmac: Buffer
  readonly scopes: string[]
  readonly models: string[] | null
  readonly ip_rules: string[] | null
  readonly created_at: Date
  readonly expires_at: Date | null
  readonly revoked_at: Date | null
  readonly replaced_by: string | null
}

interface CredentialRow extends KeyRow {
  readonly disabled: boolean
  readonly service_role: RoleGrant['role'] | null
  readonly grants: readonly { role: RoleGrant['role']; projectId: string | null }[]
  readonly limit_rules: readonly LimitRuleRow[]
}

function toCredential(row: CredentialRow): KeyCredential {
  const limitRules = row.limit_rules.map(toLimitRule)
  return { key: toKey(row), disabled: row.disabled, ownerGrants: ownerGrants(row), limitRules }
}

function ownerGrants(row: CredentialRow): readonly RoleGrant[] | undefined {
  if (row.service_role) return [{ role: row.service_role, projectId: row.project_id }]
  if (row.user_id === null) return undefined
  return row.grants.map(({ role, projectId }) => ({ role, projectId: projectId ?? undefined }))
}

function toKey(row: KeyRow): StoredKey {
  return {
    id: row.id,
    organisationId: row.organisation_id,
    projectId: row.project_id,
    name: row.name,
    userId: row.user_id ?? undefined,
    serviceAccountId: row.service_account_id ?? undefined,
    secretHmac: row.secret_hmac,
    scopes: row.scopes,
    models: row.models ?? undefined,
    ipRules: row.ip_rules ?? undefined,
    createdAtMs: row.created_at.getTime(),
    expiresAtMs: row.expires_at?.getTime(),
    revokedAtMs: row.revoked_at?.getTime(),
    replacedBy: row.replaced_by ?? undefined,
  }
}

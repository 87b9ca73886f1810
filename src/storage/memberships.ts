import type { Role, RoleGrant } from '../contracts/permissions.ts'
import { beforePosition, type Page } from './page.ts'
import type { TenantQueries } from './tenancy.ts'

/** A person, as an organisation sees them. */
export interface Member {
  readonly id: string
  readonly email: string
  readonly name: string
  readonly createdAtMs: number
  readonly disabledAtMs: number | undefined
  readonly grants: readonly RoleGrant[]
}

interface MembershipKey {
  readonly organisationId: string
  readonly userId: string
}

/** The roles of one user in one organisation. */
export async function findGrants(
  queries: TenantQueries,
  { organisationId, userId }: MembershipKey,
): Promise<readonly RoleGrant[]> {
  const rows = await queries.query<GrantRow>(
    'select role, project_id from memberships where organisation_id = $1 and user_id = $2',
    [organisationId, userId],
  )
  return rows.map(toGrant)
}

/** One role per place: another one there is replaced. */
export async function putGrant(
  queries: TenantQueries,
  { organisationId, userId, role, projectId, nowMs }: MembershipKey & RoleGrant & { nowMs: number },
): Promise<void> {
  const place =
    projectId === undefined
      ? '(organisation_id, user_id) where project_id is null'
      : '(organisation_id, user_id, project_id) where project_id is not null'
  await queries.query(
    `insert into memberships (organisation_id, user_id, project_id, role, created_at) values ($1, $2, $3, $4, $5)
     on conflict ${place} do update set role = excluded.role, from_provider = false`,
    [organisationId, userId, projectId ?? null, role, new Date(nowMs)],
  )
}

/** What a login from an identity provider changed. */
export interface ReplacedGrants {
  /** Roles from the provider as they were, and are no more. */
  readonly lost: readonly RoleGrant[]
  readonly gained: readonly RoleGrant[]
}

/**
 * Makes these the roles that a user has from the identity provider, and no others. Where a role was given by hand, that
 * one stays.
 */
export async function replaceProviderGrants(
  queries: TenantQueries,
  { organisationId, userId, grants, nowMs }: MembershipKey & { grants: readonly RoleGrant[]; nowMs: number },
): Promise<ReplacedGrants> {
  const removed = await queries.query<GrantRow>(
    `delete from memberships where organisation_id = $1 and user_id = $2 and from_provider
     returning role, project_id`,
    [organisationId, userId],
  )
  const added: GrantRow[] = []
  for (const { role, projectId } of grants) {
    const rows = await queries.query<GrantRow>(
      `insert into memberships (organisation_id, user_id, project_id, role, from_provider, created_at)
       values ($1, $2, $3, $4, true, $5) on conflict do nothing returning role, project_id`,
      [organisationId, userId, projectId ?? null, role, new Date(nowMs)],
    )
    added.push(...rows)
  }
  return { lost: without(removed, added), gained: without(added, removed) }
}

function without(rows: readonly GrantRow[], others: readonly GrantRow[]): readonly RoleGrant[] {
  return rows
    .filter((one) => !others.some((other) => other.role === one.role && other.project_id === one.project_id))
    .map(toGrant)
}

interface GrantRow {
  readonly role: Role
  readonly project_id: string | null
}

function toGrant({ role, project_id }: GrantRow): RoleGrant {
  return { role, projectId: project_id ?? undefined }
}

/** Whether there was any. */
export async function removeGrants(
  queries: TenantQueries,
  { organisationId, userId }: MembershipKey,
): Promise<boolean> {
  const rows = await queries.query(
    'delete from memberships where organisation_id = $1 and user_id = $2 returning user_id',
    [organisationId, userId],
  )
  return rows.length > 0
}

/**
 * How many own the organisation, this one user aside. Whoever asks holds the rows of the owners until the
 * transaction ends, so that two cannot take each other's role away at the same time.
 */
export async function countOtherOwners(
  queries: TenantQueries,
  { organisationId, userId }: MembershipKey,
): Promise<number> {
  const rows = await queries.query<{ user_id: string }>(
    `select user_id from memberships where organisation_id = $1 and role = 'owner' order by user_id for update`,
    [organisationId],
  )
  return rows.filter((row) => row.user_id !== userId).length
}

export async function findMember(
  queries: TenantQueries,
  { organisationId, userId }: MembershipKey,
): Promise<Member | undefined> {
  const rows = await queries.query<MemberRow>(`${MEMBERS} where users.id = $2 group by users.id`, [
    organisationId,
    userId,
  ])
  return rows[0] && toMember(rows[0])
}

export interface MemberFilter {
  readonly organisationId: string
  /** Only who has a role in the whole organisation or one of these projects; undefined: everybody. */
  readonly among: readonly string[] | undefined
  readonly email: string | undefined
}

/** Newest first. */
export async function listMembers(
  queries: TenantQueries,
  { organisationId, among, email }: MemberFilter,
  page: Page,
): Promise<readonly Member[]> {
  const rows = await queries.query<MemberRow>(
    `${MEMBERS}
     where ($2::text is null or users.email_lower = $2)
       and (users.created_at, users.id) < ($3, $4)
     group by users.id
     having $5::text[] is null
       or bool_or(memberships.project_id is null or memberships.project_id = any ($5))
     order by users.created_at desc, users.id desc limit $6`,
    [organisationId, email?.toLowerCase() ?? null, ...beforePosition(page), among ?? null, page.limit],
  )
  return rows.map(toMember)
}

const MEMBERS = `
  select users.id, users.email, users.name, users.created_at, users.disabled_at,
         json_agg(json_build_object('role', memberships.role, 'projectId', memberships.project_id)
                  order by memberships.project_id nulls first) as grants
  from users join memberships on memberships.user_id = users.id and memberships.organisation_id = $1`

interface MemberRow {
  readonly id: string
  readonly email: string
  readonly name: string
  readonly created_at: Date
  readonly disabled_at: Date | null
  readonly grants: readonly { role: Role; projectId: string | null }[]
}

function toMember(row: MemberRow): Member {
  return {
    id: row.id,
    email: row.email,
    name: row.name,
    createdAtMs: row.created_at.getTime(),
    disabledAtMs: row.disabled_at?.getTime(),
    grants: row.grants.map(({ role, projectId }) => ({ role, projectId: projectId ?? undefined })),
  }
}

import type { OidcConfig } from '../config/schema.ts'
import { ROLE_NAMES, type RoleGrant } from '../contracts/permissions.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { findOrganisation, findProject } from '../storage/accounts.ts'
import { appendAudit } from '../storage/audit.ts'
import type { Database } from '../storage/database.ts'
import {
  findExternalUser,
  insertExternalIdentity,
  isKnownToIssuer,
  lockExternalLogins,
} from '../storage/external-identities.ts'
import { findGrants, replaceProviderGrants } from '../storage/memberships.ts'
import { announceEnd } from '../storage/revocations.ts'
import { acrossOrganisations, type TenantQueries } from '../storage/tenancy.ts'
import { findUserByEmail, insertUser } from '../storage/users.ts'
import { newId } from './identifiers.ts'

/** Somebody, as an identity provider describes them. */
export interface ProviderUser {
  readonly issuer: string
  readonly subject: string
  readonly email: string | undefined
  readonly emailVerified: boolean
  readonly name: string | undefined
  readonly groups: readonly string[]
}

export interface AdmissionParts {
  readonly database: Database
  readonly config: OidcConfig
  readonly log: Logger
  readonly nowMs: number
}

/**
 * The user who logged in at the provider, with the roles that their groups give them now; made at their first login.
 * @returns their id
 * @throws HelixError `invalid_grant` when they may not come in, `invalid_configuration`, `storage_unavailable`
 */
export async function admit(parts: AdmissionParts, person: ProviderUser): Promise<string> {
  const admission = await acrossOrganisations(parts.database, async (queries) => {
    await lockExternalLogins(queries)
    await checkOrganisation(queries, parts.config.organisation)
    const grants = await grantsOf(queries, parts, person.groups)
    const { id, how } = await findOrMake(queries, { person, nowMs: parts.nowMs, welcome: grants.length > 0 })
    return { id, admitted: await settleRoles(queries, parts, { id, how, issuer: person.issuer, grants }) }
  })
  // Thrown only here: what they have lost stays lost, although they do not come in.
  if (!admission.admitted) throw withoutRole()
  return admission.id
}

async function checkOrganisation(queries: TenantQueries, id: string): Promise<void> {
  const organisation = await findOrganisation(queries, id)
  if (!organisation) {
    throw new HelixError('invalid_configuration', 'The login is not set up correctly on this server.', {
      internal: `auth.oidc.organisation: there is no organisation '${id}'`,
    })
  }
  if (organisation.archivedAtMs !== undefined) throw refusal('The organisation is archived.')
}

/** What the groups give: one role per place, the one that may most. */
async function grantsOf(
  queries: TenantQueries,
  { config, log }: AdmissionParts,
  groups: readonly string[],
): Promise<readonly RoleGrant[]> {
  const best = new Map<string | undefined, RoleGrant>()
  for (const group of groups) {
    // Groups are named by the provider: one may be called like something that every object has.
    const given = Object.hasOwn(config.roles, group) ? config.roles[group] : undefined
    if (!given) continue
    const known = best.get(given.project)
    if (known && ROLE_NAMES.indexOf(known.role) <= ROLE_NAMES.indexOf(given.role)) continue
    if (given.project !== undefined && !(await isOpenProject(queries, config.organisation, given.project))) {
      log.warn('a group gives a role in a project that is not there', { group, project: given.project })
      continue
    }
    best.set(given.project, { role: given.role, projectId: given.project })
  }
  return [...best.values()]
}

async function isOpenProject(queries: TenantQueries, organisationId: string, projectId: string) {
  const project = await findProject(queries, { organisationId, projectId })
  return project !== undefined && project.archivedAtMs === undefined
}

/** How an account was found, for the audit log. */
type Found = 'known' | 'linked' | 'made'

async function findOrMake(
  queries: TenantQueries,
  { person, nowMs, welcome }: { person: ProviderUser; nowMs: number; welcome: boolean },
): Promise<{ readonly id: string; readonly how: Found }> {
  const known = await findExternalUser(queries, person)
  if (known) {
    if (known.disabled) throw disabled()
    return { id: known.id, how: 'known' }
  }
  const { issuer, email, emailVerified } = person
  const existing = email === undefined ? undefined : await findUserByEmail(queries, email)
  if (email === undefined || !emailVerified) throw unverified(existing !== undefined)
  if (existing) {
    if (existing.disabledAtMs !== undefined) throw disabled()
    // An address that was given to somebody else at the provider does not bring the account of its former owner.
    if (await isKnownToIssuer(queries, { issuer, userId: existing.id })) {
      throw refusal(
        'The account with this e-mail address belongs to another login at your identity provider. Ask your administrator.',
      )
    }
    await insertExternalIdentity(queries, { ...person, userId: existing.id, nowMs })
    return { id: existing.id, how: 'linked' }
  }
  if (!welcome) throw withoutRole()
  const id = newId('user')
  // As long as the name of anybody may be.
  const name = person.name ?? email.slice(0, 100)
  await insertUser(queries, {
    id,
    email,
    name,
    passwordHash: undefined,
    createdAtMs: nowMs,
    disabledAtMs: undefined,
  })
  await insertExternalIdentity(queries, { ...person, userId: id, nowMs })
  return { id, how: 'made' }
}

interface Settlement {
  readonly id: string
  readonly how: Found
  readonly issuer: string
  readonly grants: readonly RoleGrant[]
}

/** Whether they have any role in the end, from their groups or given by hand. */
async function settleRoles(
  queries: TenantQueries,
  { config: { organisation: organisationId }, nowMs }: AdmissionParts,
  { id, how, issuer, grants }: Settlement,
): Promise<boolean> {
  const key = { organisationId, userId: id }
  const { lost, gained } = await replaceProviderGrants(queries, { ...key, grants, nowMs })
  const admitted = (await findGrants(queries, key)).length > 0
  // Rights are part of every cached identity.
  if (lost.length > 0) await announceEnd(queries, id)
  await appendAudit(queries, {
    organisationId,
    atMs: nowMs,
    actor: `user:${id}`,
    action: 'users.login',
    target: id,
    projectId: undefined,
    requestId: undefined,
    source: undefined,
    details: { issuer, account: how, admitted, gained, lost },
  })
  return admitted
}

function refusal(text: string): HelixError {
  return new HelixError('invalid_grant', text)
}

function withoutRole(): HelixError {
  return refusal(
    'None of your groups at the identity provider gives you a role here. Ask your administrator.',
  )
}

function disabled(): HelixError {
  return refusal('Your account is disabled. Ask your administrator.')
}

function unverified(taken: boolean): HelixError {
  return refusal(
    taken
      ? 'An account with this e-mail address exists, and your identity provider has not verified that the address is yours.'
      : 'Your identity provider must tell your e-mail address, and that it has verified it.',
  )
}

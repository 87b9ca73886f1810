/** Everything that somebody may be allowed to do: one name each, also the scopes that an API key can have. */
export const PERMISSIONS = [
  'inference',
  'models.read',
  'models.manage',
  'keys.read',
  'keys.write',
  'service_accounts.read',
  'service_accounts.write',
  'usage.read',
  'limits.read',
  'limits.write',
  'projects.read',
  'projects.write',
  'members.read',
  'members.write',
  'organisation.read',
  'organisation.write',
  'owners.write',
  'audit.read',
] as const

export type Permission = (typeof PERMISSIONS)[number]

/** What holds inside one project. The others are matters of the whole organisation. */
const OF_PROJECTS: readonly Permission[] = [
  'inference',
  'models.read',
  'keys.read',
  'keys.write',
  'service_accounts.read',
  'service_accounts.write',
  'usage.read',
  'limits.read',
  'limits.write',
  'projects.read',
  'members.read',
]

const VIEWER: readonly Permission[] = [
  'models.read',
  'keys.read',
  'service_accounts.read',
  'usage.read',
  'limits.read',
  'projects.read',
  'members.read',
  'organisation.read',
]

/** The whole of it: who may do what. */
export const ROLES = {
  owner: PERMISSIONS,
  admin: PERMISSIONS.filter((one) => one !== 'owners.write'),
  developer: [...VIEWER, 'inference', 'keys.write'],
  viewer: VIEWER,
  billing: ['usage.read', 'limits.read', 'projects.read', 'organisation.read'],
} as const satisfies Record<string, readonly Permission[]>

export type Role = keyof typeof ROLES

export const ROLE_NAMES = Object.keys(ROLES) as [Role, ...Role[]]

/** A role in a whole organisation (no project) or in one project of it. */
export interface RoleGrant {
  readonly role: Role
  readonly projectId: string | undefined
}

/** What somebody may do: everywhere in the organisation, and what is added in single projects. */
export interface Rights {
  readonly organisation: readonly Permission[]
  readonly projects: Readonly<Record<string, readonly Permission[]>>
}

export const NO_RIGHTS: Rights = { organisation: [], projects: {} }

/** The rights that a user has from their memberships. */
export function rightsOf(grants: readonly RoleGrant[]): Rights {
  const everywhere = new Set<Permission>()
  const projects: Record<string, Permission[]> = {}
  for (const { role, projectId } of grants) {
    const permissions: readonly Permission[] = ROLES[role]
    if (projectId === undefined) for (const one of permissions) everywhere.add(one)
    else projects[projectId] = permissions.filter((one) => OF_PROJECTS.includes(one))
  }
  return { organisation: [...everywhere], projects }
}

/**
 * The rights of a key: its scopes, in its project where they are a project's matter. One that belongs to somebody
 * never has more than they have.
 */
export function rightsOfKey(scopes: readonly string[], projectId: string, owner: Rights | undefined): Rights {
  const granted = PERMISSIONS.filter((one) => scopes.includes(one))
  const everywhere = granted.filter((one) => !OF_PROJECTS.includes(one))
  const inside = granted.filter((one) => OF_PROJECTS.includes(one))
  return {
    organisation: owner ? everywhere.filter((one) => may(owner, one)) : everywhere,
    projects: { [projectId]: owner ? inside.filter((one) => may(owner, one, projectId)) : inside },
  }
}

/** Whether these rights hold a permission: in that project, or in the organisation where none is named. */
export function may(rights: Rights, permission: Permission, projectId?: string): boolean {
  if (rights.organisation.includes(permission)) return true
  if (projectId === undefined) return false
  return Object.hasOwn(rights.projects, projectId) && !!rights.projects[projectId]?.includes(permission)
}

/** Whether they hold it somewhere: then lists show what they may see, instead of a refusal. */
export function mayAnywhere(rights: Rights, permission: Permission): boolean {
  return (
    rights.organisation.includes(permission) ||
    Object.values(rights.projects).some((permissions) => permissions.includes(permission))
  )
}

/** Whether somebody may give that role away: nobody gives what they do not have. */
export function mayGrant(rights: Rights, { role, projectId }: RoleGrant): boolean {
  const permissions: readonly Permission[] = ROLES[role]
  if (projectId === undefined) return permissions.every((one) => may(rights, one))
  return permissions.filter((one) => OF_PROJECTS.includes(one)).every((one) => may(rights, one, projectId))
}

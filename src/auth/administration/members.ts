import { mayGrant, type RoleGrant } from '../../contracts/permissions.ts'
import { HelixError } from '../../core/errors.ts'
import { revokeKeysOfUser } from '../../storage/keys.ts'
import {
  countOtherOwners,
  findMember,
  listMembers,
  type Member,
  putGrant,
  removeGrants,
} from '../../storage/memberships.ts'
import { endSessions } from '../../storage/sessions.ts'
import { widened } from '../../storage/tenancy.ts'
import { findUserByEmail, insertUser } from '../../storage/users.ts'
import { newId } from '../identifiers.ts'
import type { Handlers } from './handlers.ts'
import { openProject } from './organisations.ts'
import { isoTime, listOf, optional, optionalTime, pageOf } from './pages.ts'
import { isOperator, notFound, type Task } from './task.ts'

export const memberHandlers = {
  'users.list': async (task, input) => {
    const { organisationId, queries } = task
    const filter = { organisationId, among: task.visibleProjects(), email: input.email }
    return listOf(await listMembers(queries, filter, pageOf(input)), input, viewMember)
  },
  'users.show': async (task, { id }) => {
    const visible = task.visibleProjects()
    const member = await existingMember(task, id)
    const seen =
      visible === undefined ||
      member.grants.some(({ projectId }) => projectId === undefined || visible.includes(projectId))
    if (!seen) throw notFound()
    return viewMember(member)
  },
  'users.create': async (task, { email, name, password, ...grant }, { hashPassword }) => {
    task.authorise()
    await checkGrant(task, grant)
    const known = await widened(task.queries, task.organisationId, () => findUserByEmail(task.queries, email))
    if (known && (await findMember(task.queries, memberKey(task, known.id)))) {
      throw new HelixError('conflict', 'This person is in the organisation already.', { param: 'email' })
    }
    if (known && password !== undefined) {
      throw new HelixError(
        'conflict',
        'This person has an account already and keeps their password: leave it out.',
        {
          param: 'password',
        },
      )
    }
    const id = known?.id ?? newId('user')
    if (!known) {
      const passwordHash = password === undefined ? undefined : await hashPassword(password)
      const user = { id, email, name, passwordHash, createdAtMs: task.nowMs, disabledAtMs: undefined }
      await widened(task.queries, task.organisationId, () => insertUser(task.queries, user))
    }
    await putGrant(task.queries, { ...memberKey(task, id), ...toGrant(grant), nowMs: task.nowMs })
    task.changes({ target: id, projectId: grant.projectId, details: { email, role: grant.role } })
    return viewMember(await existingMember(task, id))
  },
  'users.grant': async (task, { id, ...grant }) => {
    task.authorise()
    const member = await existingMember(task, id)
    await checkGrant(task, grant)
    await keepAnOwner(task, member, grant)
    await putGrant(task.queries, { ...memberKey(task, id), ...toGrant(grant), nowMs: task.nowMs })
    task.changes({ target: id, projectId: grant.projectId, details: { role: grant.role } })
    // Rights are part of every cached identity.
    task.ends(id)
    return viewMember(await existingMember(task, id))
  },
  'users.remove': async (task, { id }) => {
    task.authorise()
    const member = await existingMember(task, id)
    await keepAnOwner(task, member)
    await removeGrants(task.queries, memberKey(task, id))
    const keys = await revokeKeysOfUser(task.queries, { ...memberKey(task, id), nowMs: task.nowMs })
    await endSessions(task.queries, { ...memberKey(task, id), nowMs: task.nowMs })
    task.changes({ target: id, details: { email: member.email, keys } })
    task.ends(id)
    return viewMember({ ...member, grants: [] })
  },
  'users.end_sessions': async (task, { id }) => {
    task.authorise()
    await existingMember(task, id)
    const ended = await endSessions(task.queries, { ...memberKey(task, id), nowMs: task.nowMs })
    task.changes({ target: id, details: { sessions: ended.length } })
    for (const session of ended) task.ends(session)
    return { ended: ended.length }
  },
} as const satisfies Partial<Handlers>

interface GrantInput {
  readonly role: RoleGrant['role']
  readonly projectId?: string | undefined
}

function toGrant({ role, projectId }: GrantInput): RoleGrant {
  return { role, projectId }
}

async function checkGrant(task: Task, { role, projectId }: GrantInput): Promise<void> {
  if (projectId !== undefined) await openProject(task, projectId)
  if (role === 'owner' && projectId !== undefined) {
    throw new HelixError('invalid_value', "'role': a project has no owner; the organisation has.", {
      param: 'role',
    })
  }
  const { caller } = task
  if (isOperator(caller) || mayGrant(caller.rights, { role, projectId })) return
  throw new HelixError(
    'insufficient_permissions',
    `Only who has all that the role '${role}' may do can give it.`,
  )
}

/** An organisation without an owner could never be administered by its own people again. */
async function keepAnOwner(task: Task, member: Member, becomes?: GrantInput): Promise<void> {
  const owns = member.grants.some(({ role }) => role === 'owner')
  const stays = becomes?.projectId !== undefined || becomes?.role === 'owner'
  if (!owns || stays) return
  if (!task.holds('owners.write')) {
    throw new HelixError('insufficient_permissions', 'Only an owner can take that role from an owner.')
  }
  if ((await countOtherOwners(task.queries, memberKey(task, member.id))) > 0) return
  throw new HelixError('conflict', 'This is the last owner. Give somebody else the role first.')
}

async function existingMember(task: Task, userId: string): Promise<Member> {
  const member = await findMember(task.queries, memberKey(task, userId))
  if (!member) throw notFound()
  return member
}

function memberKey({ organisationId }: Task, userId: string) {
  return { organisationId, userId }
}

function viewMember({ id, email, name, createdAtMs, disabledAtMs, grants }: Member) {
  return {
    id,
    email,
    name,
    createdAt: isoTime(createdAtMs),
    ...optionalTime('disabledAt', disabledAtMs),
    roles: grants.map(({ role, projectId }) => ({ role, ...optional('projectId', projectId) })),
  }
}

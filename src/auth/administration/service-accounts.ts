import { mayGrant } from '../../contracts/permissions.ts'
import { HelixError } from '../../core/errors.ts'
import {
  disableServiceAccount,
  findServiceAccount,
  insertServiceAccount,
  listServiceAccounts,
  type StoredServiceAccount,
} from '../../storage/service-accounts.ts'
import { newId } from '../identifiers.ts'
import type { Handlers } from './handlers.ts'
import { openProject } from './organisations.ts'
import { isoTime, listOf, optionalTime, pageOf } from './pages.ts'
import { isOperator, notFound, type Task } from './task.ts'

export const serviceAccountHandlers = {
  'service_accounts.list': async (task, input) => {
    const filter = { organisationId: task.organisationId, among: narrowed(task, input.projectId) }
    return listOf(await listServiceAccounts(task.queries, filter, pageOf(input)), input, view)
  },
  'service_accounts.create': async (task, { projectId, name, role }) => {
    await openProject(task, projectId)
    const { caller, organisationId, nowMs } = task
    if (!isOperator(caller) && !mayGrant(caller.rights, { role, projectId })) {
      throw new HelixError(
        'insufficient_permissions',
        `Only who has all that the role '${role}' may do can give it.`,
      )
    }
    const row = {
      id: newId('sa'),
      organisationId,
      projectId,
      name,
      role,
      createdAtMs: nowMs,
      disabledAtMs: undefined,
    }
    await insertServiceAccount(task.queries, row)
    task.changes({ target: row.id, projectId, details: { name, role } })
    return view(row)
  },
  'service_accounts.show': async (task, { id }) => view(await existingServiceAccount(task, id)),
  'service_accounts.disable': async (task, { id }) => {
    const { projectId } = await existingServiceAccount(task, id)
    const row = await disableServiceAccount(task.queries, {
      organisationId: task.organisationId,
      id,
      nowMs: task.nowMs,
    })
    if (!row) throw notFound()
    task.changes({ target: id, projectId })
    task.ends(id)
    return view(row)
  },
} as const satisfies Partial<Handlers>

/** The projects that a list shows: those that the caller may see, or the one of them that was asked for. */
export function narrowed(task: Task, projectId: string | undefined): readonly string[] | undefined {
  const visible = task.visibleProjects()
  if (projectId === undefined) return visible
  return visible === undefined || visible.includes(projectId) ? [projectId] : []
}

async function existingServiceAccount(task: Task, id: string): Promise<StoredServiceAccount> {
  const row = await findServiceAccount(task.queries, { organisationId: task.organisationId, id })
  if (!row) throw notFound()
  task.authorise(row.projectId)
  return row
}

function view({ id, projectId, name, role, createdAtMs, disabledAtMs }: StoredServiceAccount) {
  const createdAt = isoTime(createdAtMs)
  return { id, projectId, name, role, createdAt, ...optionalTime('disabledAt', disabledAtMs) }
}

import { HelixError } from '../../core/errors.ts'
import {
  archiveOrganisation,
  archiveProject,
  DEFAULT_ACCOUNT,
  findOrganisation,
  findProject,
  insertOrganisation,
  insertProject,
  listOrganisations,
  listProjects,
  renameOrganisation,
  renameProject,
  type StoredOrganisation,
  type StoredProject,
} from '../../storage/accounts.ts'
import { widened } from '../../storage/tenancy.ts'
import { newId } from '../identifiers.ts'
import type { Handlers } from './handlers.ts'
import { isoTime, listOf, optionalTime, pageOf } from './pages.ts'
import { notFound, type Task } from './task.ts'

export const organisationHandlers = {
  'organisations.list': async (task, input) => {
    task.authorise()
    const rows = await acrossAll(task, () => listOrganisations(task.queries, pageOf(input)))
    return listOf(rows, input, viewOrganisation)
  },
  'organisations.create': async (task, { name }) => {
    task.authorise()
    const row = { id: newId('org'), name, createdAtMs: task.nowMs, archivedAtMs: undefined }
    const project = { ...row, id: newId('proj'), name: 'Default', organisationId: row.id }
    await acrossAll(task, async () => {
      await insertOrganisation(task.queries, row)
      await insertProject(task.queries, project)
    })
    task.changes({ target: row.id, details: { name, project: project.id } })
    return viewOrganisation(row)
  },
  'organisations.archive': async (task, { id }) => {
    task.authorise()
    keepDefault(id === DEFAULT_ACCOUNT.organisationId, 'organisation')
    const row = await acrossAll(task, () => archiveOrganisation(task.queries, { id, nowMs: task.nowMs }))
    if (!row) throw notFound()
    task.changes({ target: id })
    task.ends(id)
    return viewOrganisation(row)
  },
  'organisation.show': async (task) => {
    task.authorise()
    const row = await findOrganisation(task.queries, task.organisationId)
    if (!row) throw notFound()
    return viewOrganisation(row)
  },
  'organisation.rename': async (task, { name }) => {
    task.authorise()
    const row = await renameOrganisation(task.queries, { id: task.organisationId, name })
    if (!row) throw notFound()
    task.changes({ target: row.id, details: { name } })
    return viewOrganisation(row)
  },
  'projects.list': async (task, input) => {
    const { organisationId, queries } = task
    const filter = { organisationId, among: task.visibleProjects(), archived: input.archived }
    return listOf(await listProjects(queries, filter, pageOf(input)), input, viewProject)
  },
  'projects.create': async (task, { name }) => {
    task.authorise()
    const row = {
      id: newId('proj'),
      organisationId: task.organisationId,
      name,
      createdAtMs: task.nowMs,
      archivedAtMs: undefined,
    }
    await insertProject(task.queries, row)
    task.changes({ target: row.id, projectId: row.id, details: { name } })
    return viewProject(row)
  },
  'projects.show': async (task, { id }) => viewProject(await existingProject(task, id)),
  'projects.rename': async (task, { id, name }) => {
    await existingProject(task, id)
    const row = await renameProject(task.queries, { ...accountOf(task, id), name })
    if (!row) throw notFound()
    task.changes({ target: id, projectId: id, details: { name } })
    return viewProject(row)
  },
  'projects.archive': async (task, { id }) => {
    await existingProject(task, id)
    keepDefault(id === DEFAULT_ACCOUNT.projectId, 'project')
    const row = await archiveProject(task.queries, { ...accountOf(task, id), nowMs: task.nowMs })
    if (!row) throw notFound()
    task.changes({ target: id, projectId: id })
    task.ends(id)
    return viewProject(row)
  },
} as const satisfies Partial<Handlers>

/** A project of the caller's organisation in which they may do what they are about to. */
export async function existingProject(task: Task, id: string): Promise<StoredProject> {
  const row = await findProject(task.queries, accountOf(task, id))
  if (!row) throw notFound()
  task.authorise(id)
  return row
}

/** The same, and things can still be made in it. */
export async function openProject(task: Task, id: string): Promise<StoredProject> {
  const row = await existingProject(task, id)
  if (row.archivedAtMs === undefined) return row
  throw new HelixError('conflict', 'This project is archived.')
}

function acrossAll<Result>(task: Task, work: () => Promise<Result>): Promise<Result> {
  return widened(task.queries, task.organisationId, work)
}

function accountOf({ organisationId }: Task, projectId: string) {
  return { organisationId, projectId }
}

function keepDefault(isDefault: boolean, what: string): void {
  if (isDefault) throw new HelixError('conflict', `The default ${what} cannot be archived.`)
}

function viewOrganisation({ id, name, createdAtMs, archivedAtMs }: StoredOrganisation) {
  return { id, name, createdAt: isoTime(createdAtMs), ...optionalTime('archivedAt', archivedAtMs) }
}

function viewProject(row: StoredProject) {
  const { id, organisationId, name } = row
  const createdAt = isoTime(row.createdAtMs)
  return { id, organisationId, name, createdAt, ...optionalTime('archivedAt', row.archivedAtMs) }
}

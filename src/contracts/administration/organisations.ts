import { z } from 'zod'
import { id, listOf, name, type Operation, page, timestamp } from './operation.ts'

export const Organisation = z.strictObject({
  id: id('organisation'),
  name,
  createdAt: timestamp,
  archivedAt: timestamp.optional(),
})

export const Project = z.strictObject({
  id: id('project'),
  organisationId: id('organisation'),
  name,
  createdAt: timestamp,
  archivedAt: timestamp.optional(),
})

export const organisationOperations = {
  'organisations.list': {
    summary: 'The organisations of this platform',
    method: 'GET',
    path: '/organisations',
    permission: 'platform',
    input: z.strictObject(page),
    output: listOf(Organisation),
  },
  'organisations.create': {
    summary: 'Make an organisation',
    method: 'POST',
    path: '/organisations',
    permission: 'platform',
    input: z.strictObject({ name }),
    output: Organisation,
  },
  'organisations.archive': {
    summary: 'End an organisation: all its credentials stop working',
    method: 'DELETE',
    path: '/organisations/{id}',
    permission: 'platform',
    input: z.strictObject({ id: id('organisation') }),
    output: Organisation,
  },
  'organisation.show': {
    summary: 'The organisation of the caller',
    method: 'GET',
    path: '/organisation',
    permission: 'organisation.read',
    input: z.strictObject({}),
    output: Organisation,
  },
  'organisation.rename': {
    summary: 'Rename the organisation',
    method: 'PATCH',
    path: '/organisation',
    permission: 'organisation.write',
    input: z.strictObject({ name }),
    output: Organisation,
  },
  'projects.list': {
    summary: 'Projects, oldest first',
    method: 'GET',
    path: '/projects',
    permission: 'projects.read',
    input: z.strictObject({
      ...page,
      archived: z.stringbool().default(false).describe('Archived ones too.'),
    }),
    output: listOf(Project),
  },
  'projects.create': {
    summary: 'Make a project',
    method: 'POST',
    path: '/projects',
    permission: 'projects.write',
    input: z.strictObject({ name }),
    output: Project,
  },
  'projects.show': {
    summary: 'One project',
    method: 'GET',
    path: '/projects/{id}',
    permission: 'projects.read',
    input: z.strictObject({ id: id('project') }),
    output: Project,
  },
  'projects.rename': {
    summary: 'Rename a project',
    method: 'PATCH',
    path: '/projects/{id}',
    permission: 'projects.write',
    input: z.strictObject({ id: id('project'), name }),
    output: Project,
  },
  'projects.archive': {
    summary: 'End a project: its keys stop working',
    method: 'DELETE',
    path: '/projects/{id}',
    permission: 'projects.write',
    input: z.strictObject({ id: id('project') }),
    output: Project,
  },
} as const satisfies Record<string, Operation>

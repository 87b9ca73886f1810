import { z } from 'zod'
import { ROLE_NAMES } from '../permissions.ts'
import { id, listOf, name, type Operation, page, text, timestamp } from './operation.ts'

const role = z.enum(ROLE_NAMES)
const serviceRole = z.enum(['admin', 'developer', 'viewer', 'billing'])
const email = z.email().max(254)

export const User = z.strictObject({
  id: id('user'),
  email,
  name,
  createdAt: timestamp,
  disabledAt: timestamp.optional(),
  /** Where they have which role. */
  roles: z.array(z.strictObject({ role, projectId: id('project').optional() })),
})

export const ServiceAccount = z.strictObject({
  id: id('service account'),
  projectId: id('project'),
  name,
  role: serviceRole,
  createdAt: timestamp,
  disabledAt: timestamp.optional(),
})

export const memberOperations = {
  'users.list': {
    summary: 'The people of the organisation',
    method: 'GET',
    path: '/users',
    permission: 'members.read',
    input: z.strictObject({
      ...page,
      email: text(254).optional().describe('Exactly this address.'),
    }),
    output: listOf(User),
  },
  'users.create': {
    summary: 'Add somebody to the organisation, with a password or for a login by the identity provider',
    method: 'POST',
    path: '/users',
    permission: 'members.write',
    input: z.strictObject({
      email,
      name,
      role,
      projectId: id('project').optional().describe('Only in this project.'),
      password: z.string().min(12).max(256).optional(),
    }),
    output: User,
  },
  'users.show': {
    summary: 'One person',
    method: 'GET',
    path: '/users/{id}',
    permission: 'members.read',
    input: z.strictObject({ id: id('user') }),
    output: User,
  },
  'users.grant': {
    summary: 'Give a role, in place of the one they have there',
    method: 'POST',
    path: '/users/{id}/roles',
    permission: 'members.write',
    input: z.strictObject({ id: id('user'), role, projectId: id('project').optional() }),
    output: User,
  },
  'users.remove': {
    summary: 'Take all roles in the organisation; running sessions and keys end',
    method: 'DELETE',
    path: '/users/{id}',
    permission: 'members.write',
    input: z.strictObject({ id: id('user') }),
    output: User,
  },
  'users.end_sessions': {
    summary: 'Log somebody out everywhere',
    method: 'DELETE',
    path: '/users/{id}/sessions',
    permission: 'members.write',
    input: z.strictObject({ id: id('user') }),
    output: z.strictObject({ ended: z.int() }),
  },
  'service_accounts.list': {
    summary: 'Accounts of programs',
    method: 'GET',
    path: '/service-accounts',
    permission: 'service_accounts.read',
    input: z.strictObject({ ...page, projectId: id('project').optional() }),
    output: listOf(ServiceAccount),
  },
  'service_accounts.create': {
    summary: 'Make an account for a program',
    method: 'POST',
    path: '/service-accounts',
    permission: 'service_accounts.write',
    input: z.strictObject({ projectId: id('project'), name, role: serviceRole }),
    output: ServiceAccount,
  },
  'service_accounts.show': {
    summary: 'One account of a program',
    method: 'GET',
    path: '/service-accounts/{id}',
    permission: 'service_accounts.read',
    input: z.strictObject({ id: id('service account') }),
    output: ServiceAccount,
  },
  'service_accounts.disable': {
    summary: 'End an account of a program: its keys stop working',
    method: 'DELETE',
    path: '/service-accounts/{id}',
    permission: 'service_accounts.write',
    input: z.strictObject({ id: id('service account') }),
    output: ServiceAccount,
  },
} as const satisfies Record<string, Operation>

import { isIP } from 'node:net'
import { z } from 'zod'
import { PERMISSIONS } from '../permissions.ts'
import { id, listOf, name, type Operation, page, text, timestamp } from './operation.ts'

const scopes = z
  .array(z.enum(PERMISSIONS))
  .min(1)
  .max(PERMISSIONS.length)
  .refine((all) => new Set(all).size === all.length, 'must not name a scope twice')

const cidr = z
  .string()
  .max(50)
  .refine(isCidr, 'must be an address or a network, as 10.0.0.0/8 or 2001:db8::/32')

const settings = {
  models: z.array(text(256)).min(1).max(1_000).optional(),
  ipRules: z.array(cidr).min(1).max(100).optional(),
  expiresAt: timestamp.optional(),
}

export const Key = z.strictObject({
  id: id('key'),
  name,
  projectId: id('project'),
  userId: id('user').optional(),
  serviceAccountId: id('service account').optional(),
  scopes: z.array(z.string()).describe('What it may do, at most what its owner may.'),
  models: settings.models.describe('The only models that it may use.'),
  ipRules: settings.ipRules.describe('The only addresses that it may come from.'),
  createdAt: timestamp,
  expiresAt: timestamp.optional(),
  revokedAt: timestamp.optional(),
  replacedBy: id('key').optional().describe('The key that took its place at a rotation.'),
})

export const NewKey = Key.extend({
  plaintext: z.string().describe('The key itself. It is shown this once and kept nowhere.'),
})

export const keyOperations = {
  'keys.list': {
    summary: 'API keys, newest first',
    method: 'GET',
    path: '/keys',
    permission: 'keys.read',
    input: z.strictObject({
      ...page,
      projectId: id('project').optional(),
      userId: id('user').optional(),
      serviceAccountId: id('service account').optional(),
      state: z.enum(['active', 'expired', 'revoked']).optional(),
    }),
    output: listOf(Key),
  },
  'keys.create': {
    summary: 'Make an API key',
    method: 'POST',
    path: '/keys',
    permission: 'keys.write',
    input: z.strictObject({
      name,
      projectId: id('project').optional().describe("By default the caller's own project."),
      userId: id('user')
        .optional()
        .describe('Whose it is: it ends with them, and may at most what they may.'),
      serviceAccountId: id('service account').optional(),
      scopes: scopes.default(['inference']),
      ...settings,
    }),
    output: NewKey,
  },
  'keys.show': {
    summary: 'One API key, without its secret',
    method: 'GET',
    path: '/keys/{id}',
    permission: 'keys.read',
    input: z.strictObject({ id: id('key') }),
    output: Key,
  },
  'keys.rotate': {
    summary: 'Make a new key in place of one, which goes on working for the overlap',
    method: 'POST',
    path: '/keys/{id}/rotate',
    permission: 'keys.write',
    input: z.strictObject({
      id: id('key'),
      overlapSeconds: z
        .int()
        .min(0)
        .max(30 * 86_400)
        .default(86_400)
        .describe('How long the old key still works.'),
    }),
    output: NewKey,
  },
  'keys.revoke': {
    summary: 'End a key at once, with the streams that run on it',
    method: 'DELETE',
    path: '/keys/{id}',
    permission: 'keys.write',
    input: z.strictObject({ id: id('key') }),
    output: Key,
  },
} as const satisfies Record<string, Operation>

function isCidr(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  if (prefix === undefined) return true
  return /^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128)
}

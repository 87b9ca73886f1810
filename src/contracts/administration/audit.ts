import { z } from 'zod'
import { id, listOf, type Operation, page, text, timestamp } from './operation.ts'

export const AuditEntry = z.strictObject({
  organisationId: z.string(),
  number: z.int().describe('Counts up by one in each organisation.'),
  at: timestamp,
  actor: z.string().describe('key:<id>, user:<id>, service_account:<id> or operator.'),
  action: z.string(),
  target: z.string(),
  projectId: id('project').optional(),
  requestId: z.string().optional(),
  source: z.string().optional().describe('The address that the request came from.'),
  details: z.record(z.string(), z.unknown()),
  hash: z.string().describe('SHA-256 over the entry and the hash of the one before it.'),
})

export const auditOperations = {
  'audit.search': {
    summary: 'What was changed, by whom; newest first',
    method: 'GET',
    path: '/audit',
    permission: 'audit.read',
    input: z.strictObject({
      ...page,
      q: text(200).optional().describe('Text anywhere in the entry, in any case of letters.'),
      actor: text(100).optional(),
      action: text(100).optional(),
      target: text(100).optional(),
      from: timestamp.optional(),
      to: timestamp.optional(),
    }),
    output: listOf(AuditEntry),
  },
  'audit.verify': {
    summary: 'Check the chain of hashes from its first entry to its last',
    method: 'GET',
    path: '/audit/verify',
    permission: 'audit.read',
    input: z.strictObject({}),
    output: z.strictObject({
      intact: z.boolean(),
      entries: z.int(),
      head: z
        .string()
        .describe('Hash of the newest entry. Kept elsewhere, it proves that none was removed since.'),
      problem: z.string().optional(),
    }),
  },
} as const satisfies Record<string, Operation>

import { z } from 'zod'
import { amountOfMoney, id, listOf, type Operation, page, text, timestamp } from './operation.ts'

const range = {
  projectId: id('project').optional(),
  model: text(256).optional(),
  from: timestamp.optional().describe('By default 30 days ago.'),
  to: timestamp.optional().describe('By default now.'),
}

const tokens = {
  promptTokens: z.number(),
  completionTokens: z.number(),
  cachedTokens: z.number(),
}

export const usageOperations = {
  'usage.summary': {
    summary: 'Requests, tokens and cost by hour, day, model or project',
    method: 'GET',
    path: '/usage',
    permission: 'usage.read',
    input: z.strictObject({ ...range, groupBy: z.enum(['hour', 'day', 'model', 'project']).default('day') }),
    output: z.strictObject({
      data: z.array(
        z.strictObject({
          group: z.string(),
          requests: z.number(),
          errors: z.number(),
          ...tokens,
          cost: amountOfMoney,
        }),
      ),
    }),
  },
  'usage.list': {
    summary: 'Single requests, newest first; never what was said in them',
    method: 'GET',
    path: '/usage/requests',
    permission: 'usage.read',
    input: z.strictObject({ ...page, ...range }),
    output: listOf(
      z.strictObject({
        requestId: z.string(),
        startedAt: timestamp,
        durationMs: z.number(),
        firstTokenMs: z.number().optional(),
        projectId: id('project'),
        keyId: z.string().describe('The key, or user:<id> for a login.'),
        model: z.string(),
        route: z.string(),
        status: z.int(),
        errorCode: z.string().optional(),
        ...tokens,
        cost: amountOfMoney,
        cache: z
          .enum(['hit', 'coalesced'])
          .optional()
          .describe('Kept from an earlier request, or shared with one that ran.'),
        estimated: z.boolean().describe('The engine did not say how many tokens.'),
        streamed: z.boolean(),
        userId: id('user').optional().describe('The person behind it.'),
        user: z.string().optional().describe("The caller's own label."),
      }),
    ),
  },
} as const satisfies Record<string, Operation>

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

const kpis = z.strictObject({
  group: z.string().describe('The model or project; `total` for all.'),
  requests: z.number(),
  errors: z.number(),
  ...tokens,
  cacheHitRatio: z.number().describe('Answers that were kept or shared, as a share of all.'),
  cost: amountOfMoney,
  durationP50Ms: z.number().optional(),
  durationP95Ms: z.number().optional(),
  firstTokenP50Ms: z.number().optional(),
  firstTokenP95Ms: z.number().optional(),
  activeUsers: z.number().describe('People, or else keys, that asked for something.'),
})

const rangeOf = <Amount extends z.ZodType>(amount: Amount) =>
  z
    .strictObject({ soFar: amount, likely: amount, low: amount, high: amount })
    .describe('What the month comes to if it goes on as it did; 8 of 10 such months end from low to high.')

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
  'usage.kpis': {
    summary: 'Requests, cost, latency and users by model or project, with a forecast of the month',
    method: 'GET',
    path: '/usage/kpis',
    permission: 'usage.read',
    input: z.strictObject({
      projectId: range.projectId,
      from: range.from,
      to: range.to,
      groupBy: z.enum(['model', 'project']).default('model'),
    }),
    output: z.strictObject({
      data: z.array(kpis).describe('The costliest first.'),
      total: kpis,
      forecast: z
        .strictObject({
          month: z.string().describe('In UTC, as 2027-01.'),
          requests: rangeOf(z.number()),
          tokens: rangeOf(z.number()),
          cost: rangeOf(amountOfMoney),
        })
        .optional()
        .describe('Of the running month; absent where the span ends before now, and in the first day.'),
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

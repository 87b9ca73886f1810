import { z } from 'zod'
import { BUDGET_PERIODS, LIMIT_ALGORITHMS, LIMIT_HOLDERS, MEASURES } from '../limits.ts'
import { id, listOf, type Operation, page, text, timestamp } from './operation.ts'

const measure = z.enum(MEASURES)
const each = z.enum(['project', 'key', 'user'])
const durationText = text(32)

const model = text(256).describe('Only requests for this model; without it all count together.')

const terms = {
  measure,
  model: model.optional(),
  limit: z
    .union([z.number(), z.string()])
    .describe('A whole number; of money a decimal one, as text, in whatever the prices are in.'),
  window: z.string().optional(),
  algorithm: z.enum(LIMIT_ALGORITHMS).optional(),
  burst: z.number().optional(),
  period: z.enum(BUDGET_PERIODS).optional(),
  shapeMaxWait: z.string().optional(),
}

export const LimitRule = z.strictObject({
  id: id('rule'),
  projectId: id('project').optional(),
  keyId: id('key').optional(),
  userId: id('user').optional().describe('Without any of the three it lies on the organisation.'),
  each: each.optional(),
  ...terms,
  createdAt: timestamp,
})

export const EffectiveLimit = z.strictObject({
  ruleId: id('rule'),
  subject: z.strictObject({ kind: z.enum(LIMIT_HOLDERS), id: z.string() }).describe('Whose counter it is.'),
  ...terms,
})

export const limitOperations = {
  'limits.list': {
    summary: 'Rules that limit requests, tokens and money, newest first',
    method: 'GET',
    path: '/limits',
    permission: 'limits.read',
    input: z.strictObject({
      ...page,
      projectId: id('project').optional().describe('What lies on this project or its keys.'),
      keyId: id('key').optional(),
      userId: id('user').optional(),
      model: text(256).optional(),
      measure: measure.optional(),
    }),
    output: listOf(LimitRule),
  },
  'limits.effective': {
    summary: 'The rules that bind a key, a user in a project, or the caller',
    method: 'GET',
    path: '/limits/effective',
    permission: 'limits.read',
    input: z.strictObject({
      keyId: id('key').optional(),
      userId: id('user').optional(),
      projectId: id('project').optional().describe('Where the user works.'),
    }),
    output: z.strictObject({ data: z.array(EffectiveLimit) }),
  },
  'limits.set': {
    summary: 'Set a rule, in place of the one on the same holder that counts the same thing',
    method: 'POST',
    path: '/limits',
    permission: 'limits.write',
    input: z.strictObject({
      measure,
      limit: z
        .union([z.number(), text(32)])
        .describe('Requests, tokens, or requests at the same time; of money an amount such as 12.50.'),
      projectId: id('project').optional(),
      keyId: id('key').optional(),
      userId: id('user')
        .optional()
        .describe('On whom it lies; without project, key and user: on the organisation.'),
      each: each
        .optional()
        .describe('A default for each of these below the holder, counted for each by itself.'),
      model: model.optional(),
      window: durationText.optional().describe('Of requests and tokens: 1s, 1m, 1h, 1d, at most 31d.'),
      algorithm: z
        .enum(LIMIT_ALGORITHMS)
        .optional()
        .describe('Of requests and tokens; by default token-bucket.'),
      burst: z.int().min(1).optional().describe('What a token bucket holds at most; by default the limit.'),
      period: z.enum(BUDGET_PERIODS).optional().describe('Of money: the calendar period, UTC.'),
      shapeMaxWait: durationText
        .optional()
        .describe('Of requests and tokens: a request waits this long at most instead of being refused.'),
    }),
    output: LimitRule,
  },
  'limits.show': {
    summary: 'One rule',
    method: 'GET',
    path: '/limits/{id}',
    permission: 'limits.read',
    input: z.strictObject({ id: id('rule') }),
    output: LimitRule,
  },
  'limits.remove': {
    summary: 'Remove a rule; one that lies further away may hold instead',
    method: 'DELETE',
    path: '/limits/{id}',
    permission: 'limits.write',
    input: z.strictObject({ id: id('rule') }),
    output: LimitRule,
  },
} as const satisfies Record<string, Operation>

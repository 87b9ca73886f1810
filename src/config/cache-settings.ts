import { z } from 'zod'
import { duration, size } from './quantities.ts'

const CacheRule = z.strictObject({
  model: z.string().min(1).max(256).optional(),
  route: z.enum(['/v1/chat/completions', '/v1/completions', '/v1/embeddings']).optional(),
  mode: z.enum(['deterministic', 'always', 'never']).default('deterministic'),
  ttl: duration().optional(),
  staleFor: duration().optional(),
  semantic: z
    .strictObject({ model: z.string().min(1).max(256), threshold: z.number().min(0.5).max(1).default(0.95) })
    .optional(),
})

/** The section `cache` of helixflow.yaml. */
export const CacheSettings = z.strictObject({
  enabled: z
    .boolean()
    .default(true)
    .describe('false: every request goes to an engine, whatever its headers say.'),
  memory: size().prefault('64MiB').describe('Memory for answers in each gateway.'),
  ttl: duration().prefault('1h').describe('How long an answer is given again.'),
  staleFor: duration()
    .prefault('0s')
    .describe('After that, how long it is still given at once while a new one is made behind it.'),
  share: z
    .enum(['project', 'organisation'])
    .default('project')
    .describe('Within what an answer is shared. Never beyond an organisation.'),
  answerMax: size()
    .prefault('1MiB')
    .describe('A larger answer is not kept; also how far a slow client may lag behind others.'),
  rules: z
    .array(CacheRule)
    .default([])
    .describe(
      'By model and route, the first that fits: mode (deterministic: temperature 0 and embeddings; always; never), ttl, staleFor, semantic (model: one of this server that makes embeddings, threshold: how like a question must be, 0.95). Such as [{model: faq, mode: always, ttl: 10m}].',
    ),
})

import { z } from 'zod'
import { schemaProblem } from './json-schema.ts'

/** Text that can be written as UTF-8: a lone surrogate would reach the engine as broken JSON. */
export const text = z.string().refine((value) => value.isWellFormed(), 'must be well-formed Unicode')

/** Tokens are numbers of the vocabulary; the upper bound is checked against the model once it is known. */
export const tokenId = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)

/** How a function is called that a model may call. */
export const functionName = z
  .string()
  .regex(/^[a-zA-Z0-9_-]{1,64}$/, 'must be 1 to 64 of a-z, A-Z, 0-9, _ and -')

export const modelName = text.min(1).max(256)

/** For parameters that OpenAI documents and that mean nothing here unless they hold their default. */
export function only<T extends string | number | boolean | null>(...allowed: readonly T[]) {
  const message = `only ${allowed.map((value) => JSON.stringify(value)).join(' or ')} is supported here`
  const check = z.custom<T>().superRefine((value, context) => {
    if (!allowed.includes(value)) context.addIssue({ code: 'custom', message, params: { unsupported: true } })
  })
  return check.optional()
}

/** A JSON schema of a caller, small enough to be turned into a grammar without harm. */
export const jsonSchema = z.record(z.string(), z.unknown()).superRefine((schema, context) => {
  const problem = schemaProblem(schema)
  if (problem) context.addIssue({ code: 'custom', message: problem })
})

/** Whether a text is JSON, of whatever shape. */
export function isJson(value: string): boolean {
  try {
    JSON.parse(value)
    return true
  } catch {
    return false
  }
}

export const streamOptions = z.strictObject({ include_usage: z.boolean().nullish() })

/** What shapes the choice of the next token; the same for chat and completions. */
export const samplingFields = {
  model: modelName,
  n: z.int().min(1).max(128).nullish(),
  seed: z.int().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(0).max(1_000_000).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d{1,9}$/, 'must have token numbers as keys'), z.number().min(-100).max(100))
    .refine((biases) => Object.keys(biases).length <= 1_024, 'at most 1024 entries')
    .nullish(),
  stop: z.union([text.min(1).max(1_024), z.array(text.min(1).max(1_024)).max(4)]).nullish(),
  max_tokens: z
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .nullish(),
  stream: z.boolean().nullish(),
  stream_options: streamOptions.nullish(),
  user: text.max(512).nullish(),
} as const

export interface SamplingRequest {
  readonly seed?: number | null | undefined
  readonly temperature?: number | null | undefined
  readonly top_p?: number | null | undefined
  readonly top_k?: number | null | undefined
  readonly min_p?: number | null | undefined
  readonly presence_penalty?: number | null | undefined
  readonly frequency_penalty?: number | null | undefined
  readonly logit_bias?: Readonly<Record<string, number>> | null | undefined
  readonly stop?: string | readonly string[] | null | undefined
}

import { z } from 'zod'
import { functionName, isJson, only, text } from './fields.ts'

// What a conversation of the Responses API consists of, as clients send it, and send back what they were given.

const itemId = text.min(1).max(256)
const status = z.enum(['in_progress', 'completed', 'incomplete'])

const inputText = z.strictObject({ type: z.literal('input_text'), text })

const otherContent = z
  .looseObject({ type: z.enum(['input_image', 'input_file', 'input_audio']) })
  .superRefine((part, context) => {
    const message = `content of type '${part.type}' needs a model that takes it, and none here does`
    context.addIssue({ code: 'custom', message, params: { unsupported: true } })
  })

const tokenLogprob = z.object({
  token: z.string(),
  logprob: z.number(),
  bytes: z.array(z.int().min(0).max(255)).max(4_096).nullish(),
})

const outputText = z.strictObject({
  type: z.literal('output_text'),
  text,
  annotations: z.array(z.never()).optional(),
  logprobs: z
    .array(tokenLogprob.extend({ top_logprobs: z.array(tokenLogprob).max(20).optional() }))
    .max(100_000)
    .nullish(),
  // The official clients add what they parsed of the text, and send it back.
  parsed: z.unknown().transform(forgotten).optional(),
})

const PARTS_MAX = 4_096
const inputContent = z.union([
  text,
  z
    .array(z.union([inputText, otherContent]))
    .min(1)
    .max(PARTS_MAX),
])

const message = z.discriminatedUnion('role', [
  z.strictObject({
    type: z.literal('message'),
    role: z.enum(['user', 'system', 'developer']),
    content: inputContent,
    id: itemId.nullish(),
    status: status.nullish(),
    phase: only(null),
  }),
  z.strictObject({
    type: z.literal('message'),
    role: z.literal('assistant'),
    content: z.union([text, z.array(z.discriminatedUnion('type', [outputText, inputText])).max(PARTS_MAX)]),
    id: itemId.nullish(),
    status: status.nullish(),
    phase: only(null),
  }),
])

const functionCall = z.strictObject({
  type: z.literal('function_call'),
  call_id: text.min(1).max(256),
  name: functionName,
  arguments: text.refine(isJson, 'must be JSON'),
  id: itemId.nullish(),
  status: status.nullish(),
  caller: only(null),
  namespace: only(null),
  parsed_arguments: z.unknown().transform(forgotten).optional(),
})

const functionCallOutput = z.strictObject({
  type: z.literal('function_call_output'),
  call_id: text.min(1).max(256),
  output: inputContent,
  id: itemId.nullish(),
  status: status.nullish(),
  caller: only(null),
})

const reasoning = z.strictObject({
  type: z.literal('reasoning'),
  id: itemId.nullish(),
  summary: z.array(z.never()).optional(),
  content: z
    .array(z.strictObject({ type: z.literal('reasoning_text'), text }))
    .max(PARTS_MAX)
    .nullish(),
  encrypted_content: only(null),
  status: status.nullish(),
})

/** One item; a message may leave its type away. */
export const inputItem = z.preprocess(
  (value) => (isUntyped(value) ? { ...value, type: 'message' } : value),
  z.discriminatedUnion('type', [message, functionCall, functionCallOutput, reasoning]),
)

/** What says nothing new may be of any shape, however deep, and is not kept. */
function forgotten(): undefined {}

export type InputItem = z.output<typeof inputItem>

function isUntyped(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !Object.hasOwn(value, 'type')
}

import { z } from 'zod'
import { functionName, jsonSchema, modelName, only, text } from './fields.ts'
import { inputItem } from './response-items.ts'

const tool = z.strictObject({
  type: z.literal('function'),
  name: functionName,
  description: text.max(65_536).nullish(),
  parameters: jsonSchema.nullish(),
  strict: z.boolean().nullish(),
})

const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  z.strictObject({ type: z.literal('function'), name: functionName }),
])

const format = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({
    type: z.literal('json_schema'),
    name: functionName,
    description: text.max(65_536).optional(),
    schema: jsonSchema,
    strict: z.boolean().nullish(),
  }),
])

const METADATA_PAIRS_MAX = 16
const metadata = z
  .record(text.min(1).max(64), text.max(512))
  .refine((pairs) => Object.keys(pairs).length <= METADATA_PAIRS_MAX, `at most ${METADATA_PAIRS_MAX} pairs`)

/** What can be asked for beside the answer itself. */
export const Includable = z.literal('message.output_text.logprobs')

/** The id of a response, ours or another's: what is no id of ours is not found. */
export const responseId = text.min(1).max(128)

/** POST /v1/responses. Parameters that OpenAI documents and that are not here are refused by name. */
export const ResponseRequest = z
  .strictObject({
    model: modelName,
    input: z.union([text, z.array(inputItem).min(1).max(10_000)]),
    instructions: text.nullish(),
    max_output_tokens: z
      .int()
      .min(1)
      .max(2 ** 31 - 1)
      .nullish(),
    temperature: z.number().min(0).max(2).nullish(),
    top_p: z.number().gt(0).max(1).nullish(),
    top_logprobs: z.int().min(0).max(20).nullish(),
    include: z.array(Includable).max(16).nullish(),
    tools: z.array(tool).max(128).nullish(),
    tool_choice: toolChoice.nullish(),
    parallel_tool_calls: z.boolean().nullish(),
    text: z.strictObject({ format: format.nullish(), verbosity: only(null) }).nullish(),
    stream: z.boolean().nullish(),
    stream_options: z.strictObject({ include_obfuscation: only(false, null) }).nullish(),
    store: z.boolean().nullish(),
    background: z.boolean().nullish(),
    previous_response_id: responseId.nullish(),
    metadata: metadata.nullish(),
    truncation: only('disabled', null),
    user: text.max(512).nullish(),
    safety_identifier: text.max(64).nullish(),
    // A hint for a cache of prompts, given back; here every engine finds a common beginning by itself.
    prompt_cache_key: text.max(512).nullish(),
    service_tier: only('auto', 'default', 'flex', 'priority', null),
    reasoning: only(null),
    max_tool_calls: only(null),
    context_management: only(null),
    conversation: only(null),
    moderation: only(null),
    prompt: only(null),
    prompt_cache_options: only(null),
    prompt_cache_retention: only('in_memory', null),
  })
  .superRefine((request, context) => {
    for (const [path, message] of contradictions(request)) {
      context.addIssue({ code: 'custom', path: [path], message })
    }
  })

export type ResponseRequest = z.output<typeof ResponseRequest>
export type ResponseTool = z.output<typeof tool>
export type ResponseToolChoice = z.output<typeof toolChoice>

interface Contradicting {
  readonly input: string | readonly { readonly id?: string | null | undefined }[]
  readonly include?: readonly string[] | null | undefined
  readonly top_logprobs?: number | null | undefined
  readonly stream?: boolean | null | undefined
  readonly stream_options?: object | null | undefined
  readonly background?: boolean | null | undefined
  readonly store?: boolean | null | undefined
  readonly tools?: readonly { readonly name: string }[] | null | undefined
  readonly tool_choice?: ResponseToolChoice | null | undefined
  readonly text?: { readonly format?: { readonly type: string } | null | undefined } | null | undefined
}

/** What cannot stand beside each other: the parameter to blame, and why. */
function contradictions(request: Contradicting): (readonly [string, string])[] {
  const found: (readonly [string, string])[] = []
  if (request.top_logprobs != null && !request.include?.length) {
    found.push(['top_logprobs', "needs include: ['message.output_text.logprobs']"])
  }
  if (request.stream_options != null && request.stream !== true) {
    found.push(['stream_options', 'needs stream: true'])
  }
  if (request.background === true && request.store === false) {
    found.push(['background', 'needs store: true, which is the default'])
  }
  const ids = typeof request.input === 'string' ? [] : request.input.flatMap(({ id }) => id ?? [])
  // Pages of items go on after an id.
  if (new Set(ids).size < ids.length) found.push(['input', 'two items have the same id'])
  const names = (request.tools ?? []).map(({ name }) => name)
  if (new Set(names).size < names.length) found.push(['tools', 'two tools have the same name'])
  const choice = request.tool_choice
  if (choice != null && choice !== 'none' && choice !== 'auto' && names.length === 0) {
    found.push(['tool_choice', 'needs tools'])
  }
  const named = typeof choice === 'object' && choice !== null ? choice.name : undefined
  if (named !== undefined && names.length > 0 && !names.includes(named)) {
    found.push(['tool_choice', `there is no tool '${named}'`])
  }
  const isForced = choice === 'required' || named !== undefined
  if (isForced && (request.text?.format?.type ?? 'text') !== 'text') {
    found.push(['text', 'a format cannot stand beside a tool_choice that forces a call'])
  }
  return found
}

/** GET /v1/responses/{id}. Clients write a list as `include[]=`. */
export const ResponseQuery = z
  .strictObject({
    stream: z.enum(['true', 'false']).optional(),
    starting_after: z
      .string()
      .regex(/^\d{1,9}$/, 'must be a sequence number')
      .transform(Number)
      .optional(),
    include: includeQuery(),
    'include[]': includeQuery(),
    include_obfuscation: only('false'),
  })
  .superRefine((query, context) => {
    if (query.starting_after !== undefined && query.stream !== 'true') {
      context.addIssue({ code: 'custom', path: ['starting_after'], message: 'needs stream=true' })
    }
    if (query.stream === 'true' && (query.include ?? query['include[]']) !== undefined) {
      const message = 'cannot stand beside stream=true: events come as they were made'
      context.addIssue({ code: 'custom', path: ['include'], message })
    }
  })

/** GET /v1/responses/{id}/input_items */
export const InputItemsQuery = z.strictObject({
  limit: z
    .string()
    .regex(/^(?:[1-9]\d?|100)$/, 'must be 1 to 100')
    .transform(Number)
    .default(20),
  order: z.enum(['asc', 'desc']).default('desc'),
  after: text.max(256).optional(),
  include: includeQuery(),
  'include[]': includeQuery(),
})

function includeQuery() {
  return z.union([Includable.transform((one) => [one]), z.array(Includable).max(16)]).optional()
}

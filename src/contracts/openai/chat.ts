import { z } from 'zod'
import { functionName, isJson, jsonSchema, only, samplingFields, text } from './fields.ts'

const textPart = z.strictObject({ type: z.literal('text'), text })
const imagePart = z
  .looseObject({ type: z.enum(['image_url', 'input_audio', 'file']) })
  .superRefine((part, context) => {
    const message = `content of type '${part.type}' needs a model that takes it, and none here does`
    context.addIssue({ code: 'custom', message, params: { unsupported: true } })
  })

const textContent = z.union([text, z.array(textPart).min(1).max(4_096)])
const userContent = z.union([
  text,
  z
    .array(z.union([textPart, imagePart]))
    .min(1)
    .max(4_096),
])

const toolCall = z.strictObject({
  id: text.max(256),
  type: z.literal('function'),
  function: z.strictObject({ name: functionName, arguments: text.refine(isJson, 'must be JSON') }),
})

const message = z.discriminatedUnion('role', [
  z.strictObject({ role: z.literal('system'), content: textContent, name: text.max(64).optional() }),
  z.strictObject({ role: z.literal('developer'), content: textContent, name: text.max(64).optional() }),
  z.strictObject({ role: z.literal('user'), content: userContent, name: text.max(64).optional() }),
  z.strictObject({
    role: z.literal('assistant'),
    content: textContent.nullish(),
    name: text.max(64).optional(),
    // Clients send back the whole message that they got; these two come as null from OpenAI's own answers.
    refusal: only(null),
    audio: only(null),
    annotations: z.array(z.never()).optional(),
    reasoning_content: text.nullish(),
    tool_calls: z.array(toolCall).max(128).nullish(),
  }),
  z.strictObject({ role: z.literal('tool'), content: textContent, tool_call_id: text.max(256) }),
])

const tool = z.strictObject({
  type: z.literal('function'),
  function: z.strictObject({
    name: functionName,
    description: text.max(65_536).optional(),
    parameters: jsonSchema.optional(),
    strict: z.boolean().nullish(),
  }),
})

const responseFormat = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({
    type: z.literal('json_schema'),
    json_schema: z.strictObject({
      name: functionName,
      description: text.max(65_536).optional(),
      schema: jsonSchema,
      strict: z.boolean().nullish(),
    }),
  }),
])

const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  z.strictObject({ type: z.literal('function'), function: z.strictObject({ name: functionName }) }),
])

/** POST /v1/chat/completions. Parameters that OpenAI documents and that are not here are refused by name. */
export const ChatRequest = z
  .strictObject({
    ...samplingFields,
    messages: z.array(message).min(1).max(100_000),
    max_completion_tokens: z
      .int()
      .min(1)
      .max(2 ** 31 - 1)
      .nullish(),
    logprobs: z.boolean().nullish(),
    top_logprobs: z.int().min(0).max(20).nullish(),
    response_format: responseFormat.nullish(),
    tools: z.array(tool).max(128).nullish(),
    tool_choice: toolChoice.nullish(),
    parallel_tool_calls: z.boolean().nullish(),
    modalities: z.tuple([z.literal('text')]).nullish(),
    service_tier: only('auto', 'default', 'flex', 'priority', null),
    store: only(false, null),
  })
  .superRefine((request, context) => {
    const refuse = (path: string, problem: string) =>
      context.addIssue({ code: 'custom', path: [path], message: problem })
    if (request.top_logprobs != null && request.logprobs !== true)
      refuse('top_logprobs', 'needs logprobs: true')
    if (request.stream_options != null && request.stream !== true)
      refuse('stream_options', 'needs stream: true')
    if (request.max_tokens != null && request.max_completion_tokens != null) {
      refuse('max_tokens', 'cannot stand beside max_completion_tokens')
    }
    const names = (request.tools ?? []).map((one) => one.function.name)
    if (new Set(names).size < names.length) refuse('tools', 'two tools have the same name')
    const choice = request.tool_choice
    if (choice != null && choice !== 'none' && names.length === 0) refuse('tool_choice', 'needs tools')
    if (
      typeof choice === 'object' &&
      choice !== null &&
      names.length > 0 &&
      !names.includes(choice.function.name)
    ) {
      refuse('tool_choice', `there is no tool '${choice.function.name}'`)
    }
    const forced = choice === 'required' || (typeof choice === 'object' && choice !== null)
    if (forced && request.response_format != null && request.response_format.type !== 'text') {
      refuse('response_format', 'cannot stand beside a tool_choice that forces a call')
    }
  })

export type ChatRequest = z.output<typeof ChatRequest>
export type ChatTool = z.output<typeof tool>

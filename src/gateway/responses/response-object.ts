import type { InputItem } from '../../contracts/openai/response-items.ts'
import type { ResponseRequest } from '../../contracts/openai/responses.ts'
import type { ResponseStatus } from '../../contracts/responses-store.ts'
import type { HelixError } from '../../core/errors.ts'

/** The log probability of one token, as a part of a message has it. */
export interface TokenLogprob {
  readonly token: string
  readonly logprob: number
  readonly bytes: readonly number[]
  readonly top_logprobs: readonly {
    readonly token: string
    readonly logprob: number
    readonly bytes: readonly number[]
  }[]
}

export interface TextPart {
  readonly type: 'output_text'
  readonly text: string
  readonly annotations: readonly never[]
  readonly logprobs: readonly TokenLogprob[]
}

type ItemStatus = 'in_progress' | 'completed' | 'incomplete'

/** What a response consists of. */
export type OutputItem =
  | {
      readonly type: 'message'
      readonly id: string
      readonly status: ItemStatus
      readonly role: 'assistant'
      readonly content: readonly TextPart[]
    }
  | {
      readonly type: 'function_call'
      readonly id: string
      readonly status: ItemStatus
      readonly call_id: string
      readonly name: string
      readonly arguments: string
    }
  | {
      readonly type: 'reasoning'
      readonly id: string
      readonly status: ItemStatus
      readonly summary: readonly never[]
      readonly content: readonly { readonly type: 'reasoning_text'; readonly text: string }[]
    }

export interface ResponseUsage {
  readonly input_tokens: number
  readonly input_tokens_details: { readonly cached_tokens: number; readonly cache_write_tokens: number }
  readonly output_tokens: number
  readonly output_tokens_details: { readonly reasoning_tokens: number }
  readonly total_tokens: number
}

/** What of a response changes while it is made. */
export interface ResponseProgress {
  readonly status: ResponseStatus
  readonly output: readonly OutputItem[]
  readonly usage: ResponseUsage | null
  readonly error: { readonly code: string; readonly message: string } | null
  readonly incomplete_details: { readonly reason: 'max_output_tokens' | 'content_filter' } | null
  readonly completed_at: number | null
}

/** A response as the API gives it. */
export interface ResponseObject extends ResponseProgress {
  readonly id: string
  readonly object: 'response'
  readonly created_at: number
  readonly model: string
  readonly background: boolean
  readonly store: boolean
  readonly previous_response_id: string | null
  readonly metadata: Readonly<Record<string, string>>
  readonly [setting: string]: unknown
}

export interface ResponseOrigin {
  readonly id: string
  readonly createdAtMs: number
}

/** The response to a request, before anything of it was made. */
export function newResponse(request: ResponseRequest, { id, createdAtMs }: ResponseOrigin): ResponseObject {
  const background = request.background === true
  return {
    id,
    object: 'response',
    created_at: Math.floor(createdAtMs / 1000),
    status: background ? 'queued' : 'in_progress',
    background,
    completed_at: null,
    error: null,
    incomplete_details: null,
    instructions: request.instructions ?? null,
    max_output_tokens: request.max_output_tokens ?? null,
    max_tool_calls: null,
    model: request.model,
    output: [],
    parallel_tool_calls: request.parallel_tool_calls ?? false,
    previous_response_id: request.previous_response_id ?? null,
    prompt_cache_key: request.prompt_cache_key ?? null,
    reasoning: null,
    safety_identifier: request.safety_identifier ?? null,
    service_tier: request.service_tier === 'auto' ? 'default' : (request.service_tier ?? 'default'),
    store: request.store ?? true,
    temperature: request.temperature ?? null,
    text: { format: request.text?.format ?? { type: 'text' } },
    tool_choice: request.tool_choice ?? 'auto',
    tools: (request.tools ?? []).map((tool) => ({
      type: 'function',
      name: tool.name,
      description: tool.description ?? null,
      parameters: tool.parameters ?? null,
      strict: tool.strict ?? null,
    })),
    top_logprobs: request.top_logprobs ?? 0,
    top_p: request.top_p ?? null,
    truncation: 'disabled',
    usage: null,
    ...(request.user == null ? {} : { user: request.user }),
    metadata: request.metadata ?? {},
  }
}

/** Why a response failed, in the few codes that the API has for it. */
export function responseError({ status, publicMessage }: HelixError): ResponseObject['error'] {
  const code =
    status === 429 ? 'rate_limit_exceeded' : status >= 400 && status < 499 ? 'invalid_prompt' : 'server_error'
  return { code, message: publicMessage }
}

/** Ids of items follow from the response's, so that they are the same wherever they are made. */
export function outputItemId(prefix: 'msg' | 'fc' | 'rs', responseId: string, index: number): string {
  return `${prefix}_${hexOf(responseId)}${index.toString(16).padStart(4, '0')}`
}

const PREFIX_OF = {
  message: 'msg',
  function_call: 'fc',
  function_call_output: 'fco',
  reasoning: 'rs',
} as const

/** What was asked, as items that can be listed: each with an id, texts as parts. */
export function inputItems(input: ResponseRequest['input'], responseId: string): readonly InputItem[] {
  const items: readonly InputItem[] =
    typeof input === 'string' ? [{ type: 'message', role: 'user', content: input }] : input
  return items.map((item, index) => {
    const id =
      item.id ?? `${PREFIX_OF[item.type]}_${hexOf(responseId)}i${index.toString(16).padStart(4, '0')}`
    const whole = { ...item, id, status: item.status ?? ('completed' as const) }
    if (whole.type !== 'message' || typeof whole.content !== 'string') return whole
    const { content: text } = whole
    return whole.role === 'assistant'
      ? { ...whole, content: [{ type: 'output_text', text, annotations: [] }] }
      : { ...whole, content: [{ type: 'input_text', text }] }
  })
}

/** For who did not ask for log probabilities of what was made earlier. */
export function withoutLogprobs(response: ResponseObject): ResponseObject {
  return { ...response, output: response.output.map(withoutItemLogprobs) }
}

export function withoutItemLogprobs<T extends { readonly type: string }>(item: T): T {
  if (item.type !== 'message' || !('content' in item) || !Array.isArray(item.content)) return item
  const content = item.content.map((part) => ('logprobs' in part ? { ...part, logprobs: [] } : part))
  return { ...item, content }
}

function hexOf(responseId: string): string {
  return responseId.replace(/^resp_/, '')
}

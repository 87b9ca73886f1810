import type { ChatRequest } from '../../contracts/openai/chat.ts'
import { isJson } from '../../contracts/openai/fields.ts'
import type { InputItem } from '../../contracts/openai/response-items.ts'
import type { ResponseRequest, ResponseTool } from '../../contracts/openai/responses.ts'
import { HelixError } from '../../core/errors.ts'

type Message = ChatRequest['messages'][number]
type AssistantMessage = Extract<Message, { role: 'assistant' }>

/**
 * What a request of the Responses API asks of a model, as a chat completion that streams and tells its usage.
 * @param items the whole conversation: those of earlier responses first
 * @throws HelixError `invalid_value` when an earlier response ended within the arguments of a call
 */
export function toChatRequest(request: ResponseRequest, items: readonly InputItem[]): ChatRequest {
  const { instructions, text, tool_choice: choice } = request
  const opening: Message[] = instructions ? [{ role: 'system', content: instructions }] : []
  const wantsLogprobs = (request.include?.length ?? 0) > 0
  return {
    model: request.model,
    messages: [...opening, ...toMessages(items)],
    max_completion_tokens: request.max_output_tokens,
    temperature: request.temperature,
    top_p: request.top_p,
    ...(wantsLogprobs ? { logprobs: true, top_logprobs: request.top_logprobs } : {}),
    response_format: formatOf(text?.format),
    tools: request.tools?.map(toChatTool),
    tool_choice:
      typeof choice === 'object' && choice !== null
        ? { type: 'function', function: { name: choice.name } }
        : choice,
    parallel_tool_calls: request.parallel_tool_calls,
    stream: true,
    stream_options: { include_usage: true },
    user: request.user,
    modalities: undefined,
    service_tier: request.service_tier,
    store: undefined,
  }
}

/** A turn of the assistant is one message, although it came as several items. */
function toMessages(items: readonly InputItem[]): Message[] {
  const messages: Message[] = []
  let turn: Turn | undefined
  const assistant = (): Turn => {
    turn ??= new Turn()
    return turn
  }
  const finishTurn = () => {
    if (turn) messages.push(turn.message())
    turn = undefined
  }
  for (const item of items) {
    if (item.type === 'reasoning') {
      // What follows was thought about anew.
      if (turn?.hasSpoken) finishTurn()
      assistant().think((item.content ?? []).map((part) => part.text).join(''))
    } else if (item.type === 'function_call') assistant().call(item)
    else if (item.type === 'message' && item.role === 'assistant') {
      if (turn?.hasSpoken) finishTurn()
      assistant().say(textOf(item.content))
    } else {
      finishTurn()
      messages.push(toMessage(item))
    }
  }
  finishTurn()
  return messages
}

type Call = Extract<InputItem, { type: 'function_call' }>
type OtherItem = Exclude<InputItem, Call | { type: 'reasoning' } | { role: 'assistant' }>

function toMessage(item: OtherItem): Message {
  if (item.type === 'function_call_output') {
    return { role: 'tool', tool_call_id: item.call_id, content: contentOf(item.output) }
  }
  return { role: item.role, content: contentOf(item.content) }
}

class Turn {
  private content: string | undefined
  private reasoning = ''
  private readonly calls: NonNullable<AssistantMessage['tool_calls']> = []

  get hasSpoken(): boolean {
    return this.content !== undefined || this.calls.length > 0
  }

  think(text: string): void {
    this.reasoning += text
  }

  say(text: string): void {
    this.content = text
  }

  call({ call_id, name, arguments: argumentsText }: Call): void {
    if (!isJson(argumentsText)) {
      throw new HelixError(
        'invalid_value',
        `The response before this one ended within the arguments of its call of '${name}'. Give it more max_output_tokens.`,
        { param: 'previous_response_id' },
      )
    }
    this.calls.push({ id: call_id, type: 'function', function: { name, arguments: argumentsText } })
  }

  message(): AssistantMessage {
    return {
      role: 'assistant',
      content: this.content ?? (this.calls.length > 0 ? null : ''),
      ...(this.reasoning === '' ? {} : { reasoning_content: this.reasoning }),
      ...(this.calls.length === 0 ? {} : { tool_calls: this.calls }),
    }
  }
}

type Parts = readonly { readonly type: string; readonly text?: unknown }[]

function contentOf(content: string | Parts): string | { type: 'text'; text: string }[] {
  if (typeof content === 'string') return content
  const [first] = content
  if (content.length === 1 && first) return String(first.text)
  return content.map((part) => ({ type: 'text', text: String(part.text) }))
}

function textOf(content: string | Parts): string {
  return typeof content === 'string' ? content : content.map((part) => String(part.text)).join('')
}

type Format = NonNullable<ResponseRequest['text']>['format']

function formatOf(format: Format): ChatRequest['response_format'] {
  if (format?.type !== 'json_schema') return format
  const { name, description, schema, strict } = format
  return {
    type: 'json_schema',
    json_schema: { name, schema, strict, ...(description === undefined ? {} : { description }) },
  }
}

function toChatTool({ name, description, parameters, strict }: ResponseTool) {
  return {
    type: 'function' as const,
    function: {
      name,
      strict,
      ...(description == null ? {} : { description }),
      ...(parameters == null ? {} : { parameters }),
    },
  }
}

import type { ChatRequest } from '../../contracts/openai/chat.ts'
import type { Replica } from '../../contracts/pool.ts'
import { HelixError } from '../../core/errors.ts'
import type { Tier } from '../../scheduler/tier.ts'
import { chatCollector } from './collector.ts'
import type { Answer, Asked, Exchange } from './exchange.ts'
import { ForcedToolCalls, forcedToolsSchema } from './forced-tools.ts'
import { chatTokensLikely, chatTokensMax } from './prompt-bound.ts'
import { checkChoices, given, samplingBody } from './sampling.ts'

/** How a chat completion is asked of an engine, and what of its answer has to be mended. */
export function chatExchange(request: ChatRequest): Exchange {
  const choices = request.n ?? 1
  const stream = request.stream === true
  return {
    model: request.model,
    path: '/v1/chat/completions',
    body: (replica, asked) => chatBody(request, replica, asked),
    size: () => ({
      // Each when it is asked for: the bound costs as much as writing the whole prompt.
      get promptTokensMax() {
        return chatTokensMax(request.messages, [request.tools, request.response_format])
      },
      get promptTokensLikely() {
        return chatTokensLikely(request.messages, request.tools ?? undefined)
      },
      promptCount: 1,
      outputTokensMax: request.max_completion_tokens ?? request.max_tokens ?? undefined,
    }),
    tier: tierOf(request.service_tier),
    prompt: () => chatPrompt(request),
    inputParam: 'messages',
    schemaParam: schemaParamOf(request),
    stream,
    includeUsage: request.stream_options?.include_usage === true,
    choices,
    choicesPerPrompt: choices,
    // llama-server counts only the first choice in a whole answer, and each in a stream.
    collect: choices > 1 && !stream ? chatCollector : undefined,
    rewrite: isForced(request)
      ? (replica) => (replica.engine === 'llama-server' ? new ForcedToolCalls() : undefined)
      : undefined,
    cacheable: { kind: 'chat', deterministic: request.temperature === 0, request },
  }
}

function tierOf(tier: ChatRequest['service_tier']): Tier {
  return tier === 'priority' || tier === 'flex' ? tier : 'default'
}

/** Templates write tools before messages. Without the bracket at its end it goes on as the conversation does. */
function chatPrompt({ tools, messages }: ChatRequest): string {
  return `${tools ? JSON.stringify(tools) : ''}${JSON.stringify(messages).slice(0, -1)}`
}

function schemaParamOf(request: ChatRequest): string | undefined {
  if (request.response_format?.type === 'json_schema') return 'response_format.json_schema.schema'
  return isForced(request) ? 'tools' : undefined
}

function chatBody(request: ChatRequest, replica: Replica, { stream, outputTokensMax }: Asked): Answer {
  checkChoices(request.n ?? 1, replica)
  return {
    model: replica.engineModel,
    messages: request.messages.map(messageBody),
    ...samplingBody(request, replica),
    ...given({
      n: request.n,
      max_tokens:
        request.max_completion_tokens ?? request.max_tokens ?? fitting(outputTokensMax, request, replica),
      logprobs: request.logprobs,
      top_logprobs: request.top_logprobs,
      response_format: request.response_format?.type === 'text' ? undefined : request.response_format,
    }),
    ...toolsBody(request, replica),
    ...(stream ? { stream: true, stream_options: { include_usage: true } } : {}),
  }
}

/** Room for what the template adds, and for texts that have more tokens than most. */
const SPARE_TOKENS = 64
const SPARE_SHARE = 0.25
/** Asked for in any case: where even this does not fit, the engine says so. */
const FITTING_TOKENS_MIN = 256

/**
 * The length that we give to an answer whose request says none. llama-server ends an answer where the context does; vLLM
 * and SGLang refuse a request whose prompt and length exceed it, although nobody has asked for that length.
 */
function fitting(
  outputTokensMax: number | undefined,
  { messages, tools }: ChatRequest,
  { engine, contextLength }: Replica,
): number | undefined {
  const refuses = engine === 'vllm' || engine === 'sglang'
  if (!refuses || outputTokensMax === undefined || contextLength === undefined) return outputTokensMax
  // Told nothing they give what the context leaves, which is no more than this.
  if (outputTokensMax >= contextLength) return undefined
  const promptTokens = chatTokensLikely(messages, tools ?? undefined)
  const left = contextLength - Math.ceil((1 + SPARE_SHARE) * promptTokens) - SPARE_TOKENS
  return Math.min(outputTokensMax, Math.max(FITTING_TOKENS_MIN, left))
}

/** What a client sends back of an earlier answer, without the fields that say nothing. */
function messageBody(message: ChatRequest['messages'][number]): Answer {
  if (message.role !== 'assistant') return message
  const { refusal: _refusal, audio: _audio, annotations: _annotations, ...rest } = message
  return given(rest)
}

function toolsBody(request: ChatRequest, replica: Replica): Answer {
  const tools = request.tools ?? []
  if (tools.length === 0) return {}
  const { tool_choice: choice, parallel_tool_calls: parallel } = request
  if (replica.engine !== 'upstream' && replica.supportsTools === false) throw noTools(request.model, replica)
  if (replica.engine !== 'llama-server' || !isForced(request)) {
    return given({ tools, tool_choice: choice, parallel_tool_calls: parallel })
  }
  // llama-server lets the model talk instead of calling; a schema over the whole answer does force the call.
  const named = typeof choice === 'object' ? choice?.function.name : undefined
  const allowed = named === undefined ? tools : tools.filter((tool) => tool.function.name === named)
  const schema = forcedToolsSchema(allowed, parallel === true && named === undefined)
  return {
    tools,
    tool_choice: 'none',
    response_format: { type: 'json_schema', json_schema: { name: 'tool_call', schema } },
  }
}

function noTools(model: string, { engine }: Replica): HelixError {
  const text =
    engine === 'llama-server'
      ? `the chat template of '${model}' does not know tools. The operator can give the model another one: ` +
        "models.perModel.<name>.chatTemplate, for example 'chatml-tools'."
      : `'${model}' runs without a parser for them. The operator can name one: ` +
        'models.perModel.<name>.engineArguments, for example [--enable-auto-tool-choice, --tool-call-parser=hermes].'
  return new HelixError('unsupported_parameter', `Unsupported parameter: 'tools': ${text}`, {
    param: 'tools',
  })
}

function isForced({ tools, tool_choice: choice }: ChatRequest): boolean {
  return (
    (tools?.length ?? 0) > 0 &&
    choice !== undefined &&
    choice !== null &&
    choice !== 'auto' &&
    choice !== 'none'
  )
}

import { ChatRequest } from '../../contracts/openai/chat.ts'
import { parseRequest } from '../../contracts/openai/parse.ts'
import { HelixError } from '../../core/errors.ts'
import { chatExchange } from '../dispatch/chat-exchange.ts'
import { ChatScribe } from '../streaming/chat-scribe.ts'
import type { StreamRuns } from '../streaming/stream-runs.ts'
import type { CreateCall, Creator } from './creator.ts'

export const CHAT_ROUTE = '/ws chat.create'

/** `chat.create`: the body of a chat completion, whose answer is always a stream with usage. */
export function chatCreator(runs: StreamRuns): Creator {
  return { prefix: 'str', create: (call) => createChat(runs, call) }
}

async function createChat(runs: StreamRuns, call: CreateCall) {
  for (const param of ['stream', 'stream_options']) {
    if (!Object.hasOwn(call.request, param)) continue
    throw new HelixError('unsupported_parameter', `Unsupported parameter: '${param}'.`, { param })
  }
  const streamed = { ...call.request, stream: true, stream_options: { include_usage: true } }
  const body = parseRequest(ChatRequest, streamed)
  const exchange = chatExchange(body)
  const user = body.user ?? undefined
  call.note({ model: exchange.model, user })
  const { writer, ended } = await runs.start({
    id: call.streamId,
    kind: 'chat',
    detachMs: call.detachMs,
    includeUsage: true,
    again: { request: body },
    scribe: (one) => new ChatScribe(one),
    requestId: call.requestId,
    identity: call.identity,
    credential: call.credential,
    exchange,
    route: CHAT_ROUTE,
    headers: {},
    user,
    startedMs: call.startedMs,
    span: call.span,
    client: call.client,
  })
  return { stream: writer.stream, ended }
}

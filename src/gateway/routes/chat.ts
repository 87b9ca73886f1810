import type { FastifyReply, FastifyRequest } from 'fastify'
import { ChatRequest } from '../../contracts/openai/chat.ts'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import { chatExchange } from '../dispatch/chat-exchange.ts'
import type { Generation } from '../generation.ts'
import { ChatScribe } from '../streaming/chat-scribe.ts'
import { detachOf, detachRefused, STREAM_HEADER } from '../streaming/detach.ts'
import type { StreamReaders } from '../streaming/stream-readers.ts'
import { makeStreamId, type StreamRuns } from '../streaming/stream-runs.ts'
import { generate } from './generate.ts'
import { accountFor, originOf, streamReply, Waiting } from './stream-origin.ts'

/**
 * POST /v1/chat/completions. With `x-helixflow-detach` the answer is a stream that goes on without its reader for so
 * long, and can be read again; without it an answer goes straight to its client and nowhere else.
 */
export function chatCompletions(generation: Generation, runs: StreamRuns, readers: StreamReaders) {
  const direct = generate(generation, ChatRequest, chatExchange)
  return (request: FastifyRequest, reply: FastifyReply) => {
    const detachMs = detachOf(request.headers)
    return detachMs === undefined
      ? direct(request, reply)
      : detachable({ runs, readers }, request, reply, detachMs)
  }
}

async function detachable(
  { runs, readers }: { readonly runs: StreamRuns; readonly readers: StreamReaders },
  request: FastifyRequest,
  reply: FastifyReply,
  detachMs: number,
): Promise<FastifyReply> {
  const body = parseRequest(ChatRequest, parseJson(request.body as Buffer))
  if (body.stream !== true) throw detachRefused('needs stream: true')
  request.model = body.model
  request.user = body.user ?? undefined
  const id = makeStreamId('str')
  const waiting = new Waiting()
  const started = await runs.start({
    ...originOf(request, reply),
    id,
    kind: 'chat',
    detachMs,
    includeUsage: body.stream_options?.include_usage === true,
    exchange: chatExchange({ ...body, stream_options: { include_usage: true } }),
    user: request.user,
    again: { request: body },
    notice: waiting.notice,
    scribe: (writer) => new ChatScribe(writer),
  })
  accountFor(request, started)
  const headers = () => ({ ...started.headers(), [STREAM_HEADER]: id })
  try {
    const { stream } = started.writer
    await waiting.answer(streamReply(request, reply, { stream, afterSeq: 0, headers, readers }))
  } catch (reason) {
    reply.headers(started.headers())
    throw reason
  }
  return reply
}

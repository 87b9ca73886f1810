import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import { InputItemsQuery, ResponseQuery, ResponseRequest } from '../../contracts/openai/responses.ts'
import type { FoundResponse, ResponseKey, ResponsesStore } from '../../contracts/responses-store.ts'
import { HelixError } from '../../core/errors.ts'
import type { Stream, StreamStore } from '../../streams/stream.ts'
import { identified } from '../hooks/authenticate.ts'
import { type ListedItem, pageOf } from '../responses/item-page.ts'
import { keptResponse } from '../responses/response-keeper.ts'
import { type ResponseObject, withoutLogprobs } from '../responses/response-object.ts'
import type { ResponseRuns, StartedResponse } from '../responses/response-runs.ts'
import { detachOf, detachRefused, STREAM_HEADER } from '../streaming/detach.ts'
import { failureOf, unrecoverable } from '../streaming/stream-failure.ts'
import type { StreamReaders } from '../streaming/stream-readers.ts'
import { lastEventOf } from '../streaming/stream-reply.ts'
import { makeStreamId } from '../streaming/stream-runs.ts'
import { answerHeaders } from './generate.ts'
import { lastEventIn } from './last-event-id.ts'
import { accountFor, originOf, streamReply, Waiting } from './stream-origin.ts'

export interface ResponseRouteParts {
  readonly responses: ResponseRuns
  readonly store: ResponsesStore
  readonly streams: StreamStore
  readonly readers: StreamReaders
}

const generates = { config: { access: 'inference' } } as const

/** The Responses API. What was kept is shown to the project that asked for it, and does not exist for any other. */
export function registerResponses(app: FastifyInstance, parts: ResponseRouteParts): void {
  app.post('/v1/responses', generates, createResponse(parts))
  // Who asks for the head alone would read the stream to its end.
  app.get('/v1/responses/:id', { ...generates, exposeHeadRoute: false }, showResponse(parts))
  app.delete('/v1/responses/:id', generates, deleteResponse(parts))
  app.post('/v1/responses/:id/cancel', generates, cancelResponse(parts))
  app.get('/v1/responses/:id/input_items', generates, listInputItems(parts))
}

function createResponse({ responses, readers }: ResponseRouteParts) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const body = parseRequest(ResponseRequest, parseJson(request.body as Buffer))
    request.model = body.model
    request.user = body.user ?? body.safety_identifier ?? undefined
    const id = makeStreamId('resp')
    const waiting = new Waiting()
    const started = await responses.start({
      ...originOf(request, reply),
      id,
      request: body,
      detachMs: detachFor(request, body),
      notice: waiting.notice,
    })
    accountFor(request, started.stream)
    const headers = () => ({ ...started.stream.headers(), [STREAM_HEADER]: id })
    try {
      if (body.stream === true) {
        const { stream } = started.stream.writer
        await waiting.answer(streamReply(request, reply, { stream, afterSeq: 0, headers, readers }))
        return reply
      }
      const response = await answerOf(started, reply)
      return reply.headers({ ...answerHeaders(request, reply), ...headers() }).send(response)
    } catch (reason) {
      reply.headers(started.stream.headers())
      throw reason
    }
  }
}

/** A client that leaves ends its response, unless it said otherwise. */
function detachFor({ headers }: FastifyRequest, { background, stream }: ResponseRequest): number {
  const detachMs = detachOf(headers)
  if (background === true) {
    if (detachMs !== undefined) throw detachRefused('a response in the background goes on to its end anyway')
    return Number.POSITIVE_INFINITY
  }
  if (detachMs !== undefined && stream !== true) throw detachRefused('needs stream: true')
  return detachMs ?? 0
}

/** @throws HelixError why it failed */
async function answerOf({ response, stream }: StartedResponse, reply: FastifyReply): Promise<ResponseObject> {
  if (response.background) return response
  const last = await lastEventOf(stream.writer.stream, reply.raw)
  if (last.kind === 'error') throw failureOf(last)
  return (JSON.parse(last.data) as { readonly data: { readonly response: ResponseObject } }).data.response
}

function showResponse({ store, streams, readers }: ResponseRouteParts) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const query = parseRequest(ResponseQuery, { ...(request.query as object) })
    const found = await findResponse(store, request)
    request.model = found.model
    if (query.stream !== 'true') {
      const response = keptResponse(found)
      return (query.include ?? query['include[]']) === undefined ? withoutLogprobs(response) : response
    }
    const stream = await streams.find(found.organisationId, found.id)
    // It was there, else it would not have been kept.
    if (typeof stream === 'string') throw unrecoverable('expired')
    // Who comes back by themselves ask at the same address, and have more by now than it says.
    const place = lastEventIn(request.headers) ?? { afterSeq: (query.starting_after ?? -1) + 1 }
    const headers = () => ({ [STREAM_HEADER]: found.id })
    await streamReply(request, reply, { stream, ...place, headers, readers }).begin()
    return reply
  }
}

function deleteResponse({ store, streams }: ResponseRouteParts) {
  return async (request: FastifyRequest) => {
    const key = keyOf(request)
    if (!(await store.remove(key))) throw responseNotFound(key.id)
    const reason = new HelixError('client_closed_request', 'The response was deleted.')
    await streams.cancel(key.organisationId, key.id, reason)
    return { id: key.id, object: 'response', deleted: true }
  }
}

function cancelResponse({ store, streams }: ResponseRouteParts) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const found = await findResponse(store, request)
    if (!found.background) {
      throw new HelixError('invalid_value', 'Only a response in the background can be cancelled.')
    }
    if (hasEnded(found)) return withoutLogprobs(keptResponse(found))
    const { organisationId, id } = found
    const stream = await streams.find(organisationId, id)
    const reason = new HelixError('client_closed_request', 'The response was cancelled.')
    await streams.cancel(organisationId, id, reason)
    if (typeof stream !== 'string') await endOf(stream, reply)
    const now = await findResponse(store, request)
    if (hasEnded(now)) return withoutLogprobs(keptResponse(now))
    throw new HelixError('conflict', `Response '${id}' is made by a server that cannot be reached from here.`)
  }
}

/** It has been kept by then. A stream whose end is not kept any more has ended too. */
async function endOf(stream: Stream, reply: FastifyReply): Promise<void> {
  if (!stream.ended) await lastEventOf(stream, reply.raw, stream.lastSeq)
}

function hasEnded({ status, abandoned }: FoundResponse): boolean {
  return abandoned || (status !== 'queued' && status !== 'in_progress')
}

function listInputItems({ store }: ResponseRouteParts) {
  return async (request: FastifyRequest) => {
    const { limit, order, after, ...query } = parseRequest(InputItemsQuery, { ...(request.query as object) })
    const found = await findResponse(store, request)
    // Written by this program from items with ids.
    const items = JSON.parse(found.input) as readonly ListedItem[]
    const includesLogprobs = (query.include ?? query['include[]']) !== undefined
    return pageOf(items, { limit, order, after, includesLogprobs })
  }
}

/** @throws HelixError `not_found` for what is no id of ours */
function keyOf(request: FastifyRequest): ResponseKey {
  const { id } = request.params as { readonly id: string }
  const { organisationId, projectId } = identified(request)
  if (!/^resp_[0-9a-f]{32}$/.test(id)) throw responseNotFound(id)
  return { organisationId, projectId, id }
}

/** @throws HelixError `not_found`, `storage_unavailable` */
async function findResponse(store: ResponsesStore, request: FastifyRequest): Promise<FoundResponse> {
  const key = keyOf(request)
  const found = await store.find(key)
  if (found) return found
  throw responseNotFound(key.id)
}

function responseNotFound(id: string): HelixError {
  return new HelixError('not_found', `Response with id '${id.slice(0, 64)}' not found.`, {
    param: 'response_id',
  })
}

import type { FastifyReply, FastifyRequest } from 'fastify'
import { HelixError } from '../../core/errors.ts'
import type { Stream, StreamStore } from '../../streams/stream.ts'
import { identified } from '../hooks/authenticate.ts'
import { STREAM_HEADER } from '../streaming/detach.ts'
import { unrecoverable } from '../streaming/stream-failure.ts'
import type { StreamReaders } from '../streaming/stream-readers.ts'
import { lastEventIn } from './last-event-id.ts'
import { streamReply } from './stream-origin.ts'

/** GET /v1/streams/{id}: a stream from where its reader was, as `Last-Event-ID` says, or from its beginning. */
export function readStream(streams: StreamStore, readers: StreamReaders) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const stream = await streamOf(streams, request)
    const place = lastEventIn(request.headers) ?? { afterSeq: 0 }
    request.model = stream.head.model
    const headers = () => ({ [STREAM_HEADER]: stream.head.id })
    await streamReply(request, reply, { stream, ...place, headers, readers }).begin()
    return reply
  }
}

/** DELETE /v1/streams/{id}: ends what makes it. Of one that has ended nothing is left to be done. */
export function cancelStream(streams: StreamStore) {
  return async (request: FastifyRequest) => {
    const { head } = await streamOf(streams, request)
    const reason = new HelixError('client_closed_request', 'The stream was cancelled.')
    const cancelled = await streams.cancel(head.tenant, head.id, reason)
    return { id: head.id, object: 'stream', cancelled }
  }
}

/** @throws HelixError `not_found` for another project's too, `stream_unrecoverable` */
async function streamOf(streams: StreamStore, request: FastifyRequest): Promise<Stream> {
  const { id } = request.params as { readonly id: string }
  const { organisationId, projectId } = identified(request)
  const stream = await streams.find(organisationId, id)
  if (typeof stream === 'string') throw unrecoverable(stream)
  if (stream.head.projectId !== projectId) throw unrecoverable('not_found')
  return stream
}

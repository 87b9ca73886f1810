import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Stream } from '../../streams/stream.ts'
import { presenceOf } from '../dispatch/recipient.ts'
import { identified, presentedCredential } from '../hooks/authenticate.ts'
import { formatOf } from '../streaming/event-formats.ts'
import type { StreamReaders } from '../streaming/stream-readers.ts'
import { StreamReply } from '../streaming/stream-reply.ts'
import type { StartedStream } from '../streaming/stream-runs.ts'
import { answerHeaders } from './generate.ts'

/** Who asks for a generation over HTTP, and how. */
export function originOf(request: FastifyRequest, reply: FastifyReply) {
  return {
    requestId: request.id,
    identity: identified(request),
    credential: presentedCredential(request),
    route: request.routeOptions.url ?? '',
    headers: request.headers,
    startedMs: request.startedMs,
    span: request.span,
    client: presenceOf(reply.raw),
  }
}

/** The line in the log waits for what the generation costs. */
export function accountFor(request: FastifyRequest, { ended }: StartedStream): void {
  request.work = ended.then((settlement) => {
    request.settlement = settlement
  })
}

export interface StreamAnswer {
  readonly stream: Stream
  /** What the client has of it. */
  readonly afterSeq: number
  /** In which life of its buffer; where it is not known, whatever it is now. */
  readonly epoch?: string
  readonly readers: StreamReaders
  headers(): Readonly<Record<string, string>>
}

/** The reply that gives a stream to a client. */
export function streamReply(
  request: FastifyRequest,
  reply: FastifyReply,
  { readers, headers, ...place }: StreamAnswer,
): StreamReply {
  return new StreamReply({
    ...place,
    response: reply.raw,
    format: formatOf(place.stream),
    reads: (end) => {
      const caller = { identity: identified(request), credential: presentedCredential(request) }
      return readers.beginAlone(place.stream.head.id, caller, end)
    },
    headers: () => {
      // From here on the answer is written past the framework.
      reply.hijack()
      return { ...answerHeaders(request, reply), ...headers() }
    },
  })
}

/** Lets somebody who waits for their answer know why nothing comes yet. */
export class Waiting {
  private reply: StreamReply | undefined

  readonly notice = (text: string): void => this.reply?.comment(text)

  /** Answers with the stream; from now on what is noticed goes there. @throws HelixError as `StreamReply.begin` */
  async answer(reply: StreamReply): Promise<void> {
    this.reply = reply
    await reply.begin()
  }
}

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { parseJson, parseRequest } from '../../contracts/openai/parse.ts'
import type { Exchange } from '../dispatch/exchange.ts'
import { ClientRecipient, presenceOf } from '../dispatch/recipient.ts'
import type { Generation } from '../generation.ts'
import { identified, presentedCredential } from '../hooks/authenticate.ts'

/**
 * A route that an engine answers: the body is parsed once against its schema, made into an exchange and dispatched.
 * Authentication has already run: see app.ts.
 */
export function generate<T extends object>(
  generation: Generation,
  schema: z.ZodType<T>,
  toExchange: (request: T) => Exchange,
) {
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const body = parseRequest(schema, parseJson(request.body as Buffer))
    const exchange = toExchange(body)
    request.model = exchange.model
    request.user = userOf(body)
    const running = await generation.begin({
      requestId: request.id,
      identity: identified(request),
      credential: presentedCredential(request),
      exchange,
      route: request.routeOptions.url ?? '',
      headers: request.headers,
      user: request.user,
      startedMs: request.startedMs,
      span: request.span,
      client: presenceOf(reply.raw),
      recipient: (headers) => answerTo(request, reply, headers),
      settled: (settlement) => {
        request.settlement = settlement
      },
    })
    request.work = running.ended
    try {
      await running.work
    } catch (reason) {
      reply.headers(running.headers)
      throw reason
    }
    return reply
  }
}

/** The caller's own label for its user, where the request has one. */
export function userOf(body: object): string | undefined {
  return 'user' in body && typeof body.user === 'string' ? body.user : undefined
}

function answerTo(
  request: FastifyRequest,
  reply: FastifyReply,
  headers: Readonly<Record<string, string>>,
): ClientRecipient {
  return new ClientRecipient(reply.raw, () => {
    // From here on the answer is written past the framework.
    reply.hijack()
    return { ...answerHeaders(request, reply), ...headers }
  })
}

/** What every answer of an engine says at its head. */
export function answerHeaders(request: FastifyRequest, reply: FastifyReply): Record<string, string> {
  return {
    'x-request-id': request.id,
    'openai-processing-ms': String(Math.round(performance.now() - request.startedMs)),
    'x-helixflow-model': encodeURI(request.model ?? ''),
    'x-helixflow-instance': String(reply.getHeader('x-helixflow-instance')),
  }
}

import type { FastifyReply, FastifyRequest } from 'fastify'
import { noSpan, noTracer, type Span, type Tracer } from '../../core/tracing.ts'
import { isAbandoned } from './observe.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The whole of this request. */
    span: Span
  }
}

/** One span per request, from its head to the moment when its connection and its engine have done with it. */
export function traceRequests(tracer: Tracer) {
  return (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
    request.span = tracer === noTracer ? noSpan : begin(tracer, request)
    if (request.span.traceId !== undefined) reply.raw.once('close', () => void end(request, reply))
    done()
  }
}

/**
 * Named by the conventions for HTTP. Of the address only the route is told: what stands in its place may be an id that
 * is nobody else's business.
 */
function begin(tracer: Tracer, { id, method, routeOptions: { url }, headers }: FastifyRequest): Span {
  return tracer.begin(url === undefined ? method : `${method} ${url}`, 'server', headers, {
    'http.request.method': method,
    'http.route': url,
    'helixflow.request.id': id,
  })
}

async function end(request: FastifyRequest, reply: FastifyReply): Promise<void> {
  await request.work
  const { span, settlement, failure, identity } = request
  const error = settlement?.error ?? failure
  span.set({
    'http.response.status_code': error?.status ?? (isAbandoned(request, reply) ? 499 : reply.raw.statusCode),
    'helixflow.project.id': identity?.projectId,
    ...(settlement && { 'gen_ai.request.model': request.model, 'helixflow.cache': settlement.cache }),
  })
  span.end(error)
}

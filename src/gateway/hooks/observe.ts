import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Identity } from '../../contracts/auth.ts'
import type { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import type { RequestMetrics } from '../metrics/request-metrics.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Set once the key was verified; nothing else sets it. */
    identity: Identity | undefined
    /** What an upgrade brought in place of the header Authorization. */
    credential: string | undefined
    /** When it arrived, on the monotonic clock. */
    startedMs: number
    model: string | undefined
    settlement: Settlement | undefined
    /** Resolves when the engine's part of the request has ended; undefined where no engine has one. */
    work: Promise<void> | undefined
    failure: HelixError | undefined
    /** The caller's own label for its user, for the log. */
    user: string | undefined
  }
}

const CLIENT_ID_PATTERN = /^[\x21-\x7e]{1,128}$/

/** One line per request, and its share in what is counted, when its connection has done with it. Never a prompt, an answer or a key. */
export function accessLog(log: Logger, counts: RequestMetrics) {
  return (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
    request.startedMs = performance.now()
    counts.began()
    reply.raw.once('close', async () => {
      // A client that leaves is gone before the engine has stopped and its tokens are counted.
      await request.work
      const { settlement, failure, identity } = request
      const error = settlement?.error ?? failure
      const status = error?.status ?? (isAbandoned(request, reply) ? 499 : reply.raw.statusCode)
      const route = request.routeOptions.url
      const ms = performance.now() - request.startedMs
      const durationMs = settlement && ms
      counts.ended({ route, model: request.model, status, error, durationMs, traceId: request.span.traceId })
      log.info('request', {
        request: request.id,
        trace: request.span.traceId,
        clientRequest: clientRequestId(request),
        method: request.method,
        route,
        status,
        error: error?.code,
        cause: error && error.message !== error.publicMessage ? error.message : undefined,
        model: request.model,
        project: identity?.projectId,
        key: identity?.keyId,
        cache: settlement?.cache,
        replica: settlement?.served?.replica,
        routing: settlement?.served?.route,
        waitedMs: settlement?.served && Math.round(settlement.served.waitedMs),
        user: request.user,
        promptTokens: settlement?.usage.promptTokens,
        completionTokens: settlement?.usage.completionTokens,
        ms: Math.round(ms),
      })
    })
    done()
  }
}

/** Its client left before the answer was complete. What runs without one is settled, and a socket is an answer. */
export function isAbandoned({ settlement }: FastifyRequest, { raw }: FastifyReply): boolean {
  return !settlement && !raw.writableFinished && raw.statusCode !== 101
}

function clientRequestId(request: FastifyRequest): string | undefined {
  const given = request.headers['x-client-request-id']
  return typeof given === 'string' && CLIENT_ID_PATTERN.test(given) ? given : undefined
}

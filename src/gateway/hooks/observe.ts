import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Identity } from '../../contracts/auth.ts'
import type { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Settlement } from '../dispatch/settlement.ts'

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

/** One line per request, when its connection has done with it. Never a prompt, an answer or a key. */
export function accessLog(log: Logger) {
  return (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
    request.startedMs = performance.now()
    reply.raw.once('close', async () => {
      // A client that leaves is gone before the engine has stopped and its tokens are counted.
      await request.work
      const { settlement, failure, identity } = request
      const error = settlement?.error ?? failure
      log.info('request', {
        request: request.id,
        trace: request.span.traceId,
        clientRequest: clientRequestId(request),
        method: request.method,
        route: request.routeOptions.url,
        status: error?.status ?? reply.raw.statusCode,
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
        ms: Math.round(performance.now() - request.startedMs),
      })
    })
    done()
  }
}

function clientRequestId(request: FastifyRequest): string | undefined {
  const given = request.headers['x-client-request-id']
  return typeof given === 'string' && CLIENT_ID_PATTERN.test(given) ? given : undefined
}

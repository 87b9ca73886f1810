import type { FastifyReply, FastifyRequest } from 'fastify'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Random } from '../../core/random.ts'

/** No client may be told to sleep longer: some SDKs obey without a bound. */
const RETRY_AFTER_MAX_MS = 60_000
const CLOSING_CODES = new Set(['server_draining', 'headers_too_large'])

/**
 * The headers that a failure carries beside its body. An OpenAI SDK resends 408, 409, 429 and 5xx by itself, unless
 * `x-should-retry` says otherwise.
 */
export function errorHeaders(error: HelixError, random: Random): Record<string, string> {
  const headers: Record<string, string> = { ...error.headers }
  if (error.status === 401) headers['www-authenticate'] = 'Bearer'
  if (CLOSING_CODES.has(error.code)) headers['connection'] = 'close'
  const resent = error.status === 408 || error.status === 409 || error.status === 429 || error.status >= 500
  if (resent && !error.retryable) headers['x-should-retry'] = 'false'
  if (error.code === 'server_draining') headers['x-should-retry'] = 'true'
  if (error.retryable && error.retryAfterMs !== undefined) {
    // Jitter, so that those who were refused together do not come back together.
    const waitMs = Math.min(RETRY_AFTER_MAX_MS, Math.round(error.retryAfterMs * (1 + random.uniform() / 4)))
    headers['retry-after-ms'] = String(waitMs)
    headers['retry-after'] = String(Math.max(1, Math.ceil(waitMs / 1000)))
  }
  return headers
}

/** The one place where a failure becomes an answer. */
export function errorReply(log: Logger, random: Random) {
  return (reason: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const error = fromFramework(reason)
    if (error.code === 'internal_error')
      log.error('request failed', { request: request.id, cause: error.message })
    request.failure = error
    if (reply.raw.headersSent || reply.raw.destroyed) return reply.raw.destroy()
    // A client that is still sending would lose the answer with the connection: what it sends is read and dropped.
    // Of unknown length it may never end: then the connection is closed.
    if (error.code === 'request_too_large' && request.headers['content-length'] !== undefined) {
      reply.removeHeader('connection')
      request.raw.resume()
    }
    return reply.code(error.status).headers(errorHeaders(error, random)).send(error.toBody())
  }
}

/** Fastify's own refusals in our words. */
function fromFramework(reason: unknown): HelixError {
  if (reason instanceof HelixError) return reason
  const code = (reason as { readonly code?: unknown } | null)?.code
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new HelixError('request_too_large', 'The request body is larger than this server takes.')
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE' || code === 'FST_ERR_CTP_EMPTY_TYPE') {
    return new HelixError('unsupported_media_type', 'Send the request with content-type: application/json.')
  }
  if (code === 'FST_ERR_CTP_INVALID_CONTENT_LENGTH') {
    return new HelixError('invalid_json', 'The request body does not have the length that its header says.')
  }
  if (code === 'FST_ERR_BAD_URL' || code === 'FST_ERR_MAX_PARAM_LENGTH') {
    return new HelixError('unknown_url', 'The address of the request cannot be read.')
  }
  return HelixError.from(reason)
}

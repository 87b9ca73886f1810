import type { EngineKind } from '../../contracts/pool.ts'
import { HelixError } from '../../core/errors.ts'
import type { Exchange } from './exchange.ts'

export interface Denial {
  readonly status: number
  readonly body: Buffer
  readonly retryAfter: string | undefined
}

const MESSAGE_LENGTH_MAX = 500
const RETRY_AFTER_MAX_MS = 60_000

/** llama-server's words when a schema makes no grammar, or one that nothing satisfies; some come with status 500. */
const SCHEMA_TROUBLE = /grammar|generate parser|peg-native|bad_alloc/

/** What an engine's refusal means for the caller, in our words and codes. */
export function denialError(
  denial: Denial,
  engine: EngineKind,
  exchange: Pick<Exchange, 'inputParam' | 'schemaParam'>,
): HelixError {
  const { message } = readBody(denial.body)
  const internal = `engine answered ${denial.status}: ${message}`
  const tooLong = tooLongError(denial.body, exchange)
  if (tooLong) return tooLong
  const { status } = denial
  if (engine === 'llama-server' && exchange.schemaParam && SCHEMA_TROUBLE.test(message)) {
    const text = `Invalid value: '${exchange.schemaParam}': the engine cannot follow this schema.`
    return new HelixError('invalid_value', text, { param: exchange.schemaParam, internal })
  }
  if (status === 400 || status === 422) {
    return new HelixError('invalid_value', message || 'The engine refused the request.', { internal })
  }
  if (engine === 'upstream') return upstreamError(denial, internal)
  // 503 is llama-server's own "Loading model"; it never happens once we have seen it ready.
  return new HelixError('engine_failed', 'The engine failed on this request.', {
    internal,
    retryable: status === 503,
  })
}

/** The error of an input that is too long, when this is what an engine says; it does so also inside a stream. */
export function tooLongError(body: Buffer, exchange: Pick<Exchange, 'inputParam'>): HelixError | undefined {
  const { message, kind } = readBody(body)
  if (!isTooLong(message, kind)) return undefined
  return new HelixError('context_length_exceeded', tooLongText(message), {
    param: exchange.inputParam,
    internal: `engine answered: ${message}`,
  })
}

function upstreamError({ status, retryAfter }: Denial, internal: string): HelixError {
  const retryAfterMs = Math.min(RETRY_AFTER_MAX_MS, Math.max(0, Number(retryAfter) * 1000) || 1_000)
  if (status === 401 || status === 403) {
    return new HelixError('upstream_auth_failed', 'The upstream server does not accept our credential.', {
      internal,
    })
  }
  if (status === 429) {
    return new HelixError('upstream_rate_limited', 'The upstream server limits our requests.', {
      internal,
      retryAfterMs,
    })
  }
  if (status >= 500) {
    return new HelixError('upstream_unavailable', 'The upstream server failed.', { internal, retryAfterMs })
  }
  return new HelixError('upstream_invalid_response', 'The upstream server refused the request.', { internal })
}

function readBody(body: Buffer): { message: string; kind: string } {
  try {
    const { error } = JSON.parse(body.toString('utf8'))
    const message = typeof error === 'string' ? error : error?.message
    const kind = [error?.type, error?.code].filter((one) => typeof one === 'string').join(' ')
    return { message: printable(message), kind }
  } catch {
    return { message: '', kind: '' }
  }
}

function printable(message: unknown): string {
  if (typeof message !== 'string') return ''
  return message.replaceAll(/\p{Cc}+/gu, ' ').slice(0, MESSAGE_LENGTH_MAX)
}

function isTooLong(message: string, kind: string): boolean {
  return (
    kind.includes('exceed_context_size') ||
    kind.includes('context_length_exceeded') ||
    message.includes('is too large to process')
  )
}

/** llama-server says "request (3031 tokens) exceeds ... (2048 tokens)" or "input (701 tokens) ... size: 512". */
function tooLongText(message: string): string {
  const [, given] = /\((\d+) tokens\)/.exec(message) ?? []
  const [, limit] = /\((\d+) tokens\),? ?try/.exec(message) ?? /batch size: (\d+)/.exec(message) ?? []
  if (!given || !limit) return 'The input is longer than the context of this model.'
  return `This model takes at most ${limit} tokens here, and the input has ${given}. Shorten it.`
}

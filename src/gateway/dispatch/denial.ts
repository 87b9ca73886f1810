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
const REFUSED = 'The engine refused the request.'

/** llama-server's words when a schema makes no grammar, or one that nothing satisfies; some come with status 500. */
const SCHEMA_TROUBLE = /grammar|generate parser|peg-native|bad_alloc/

/** What an engine's refusal means for the caller, in our words and codes. */
export function denialError(
  denial: Denial,
  engine: EngineKind,
  exchange: Pick<Exchange, 'inputParam' | 'schemaParam'>,
): HelixError {
  const { message, kind } = readBody(denial.body)
  const internal = `engine answered ${denial.status} ${named(kind)}`.trimEnd()
  const tooLong = tooLongError(denial.body, exchange)
  if (tooLong) return tooLong
  const { status } = denial
  if (engine === 'llama-server' && exchange.schemaParam && SCHEMA_TROUBLE.test(message)) {
    const text = `Invalid value: '${exchange.schemaParam}': the engine cannot follow this schema.`
    return new HelixError('invalid_value', text, { param: exchange.schemaParam, internal })
  }
  if (status === 400 || status === 422) {
    return new HelixError('invalid_value', message || REFUSED, { internal })
  }
  if (engine === 'upstream') return upstreamError(denial, internal)
  // 503 is llama-server's own "Loading model"; it never happens once we have seen it ready.
  return new HelixError('engine_failed', 'The engine failed on this request.', {
    internal,
    retryable: status === 503,
  })
}

/** What an engine says inside a stream has gone wrong. SGLang refuses a request there too, with the status in its error. */
export function streamedError(body: Buffer, exchange: Pick<Exchange, 'inputParam'>): HelixError {
  const tooLong = tooLongError(body, exchange)
  if (tooLong) return tooLong
  const { message, kind, code } = readBody(body)
  const internal = `engine failed within its answer ${named(kind)}`.trimEnd()
  if (code === 400) return new HelixError('invalid_value', message || REFUSED, { internal })
  return new HelixError('engine_failed', 'The engine failed while it generated.', {
    retryable: false,
    internal,
  })
}

/** The error of an input that is too long, when this is what an engine says. */
function tooLongError(body: Buffer, exchange: Pick<Exchange, 'inputParam'>): HelixError | undefined {
  const { message, kind } = readBody(body)
  if (!isTooLong(message, kind)) return undefined
  return new HelixError('context_length_exceeded', tooLongText(message), {
    param: exchange.inputParam,
    internal: 'engine answered that the input is too long',
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

interface EngineError {
  readonly message: string
  /** Its words for the kind of error. */
  readonly kind: string
  /** The status, where it is told as a number. */
  readonly code: number | undefined
}

/** OpenAI's `{ error: { message, type, code } }`, a text in its place, or SGLang's, where the error is the whole body. */
function readBody(body: Buffer): EngineError {
  try {
    const whole = JSON.parse(body.toString('utf8'))
    const error = whole?.object === 'error' ? whole : whole?.error
    const message = typeof error === 'string' ? error : error?.message
    const kind = [error?.type, error?.code].filter((one) => typeof one === 'string').join(' ')
    const code = typeof error?.code === 'number' ? error.code : undefined
    return { message: printable(message), kind, code }
  } catch {
    return { message: '', kind: '', code: undefined }
  }
}

/** Its words go to whoever asked, and never into the log: engines quote prompts in them, and headers with keys. */
function named(kind: string): string {
  return kind
    .split(' ')
    .filter((word) => /^[\w.-]{1,64}$/.test(word))
    .join(' ')
}

function printable(message: unknown): string {
  if (typeof message !== 'string') return ''
  return message.replaceAll(/\p{Cc}+/gu, ' ').slice(0, MESSAGE_LENGTH_MAX)
}

function isTooLong(message: string, kind: string): boolean {
  return (
    kind.includes('exceed_context_size') ||
    kind.includes('context_length_exceeded') ||
    TOO_LONG.some((words) => message.includes(words))
  )
}

/** Of llama-server, of vLLM and SGLang, of vLLM, of SGLang. */
const TOO_LONG = [
  'is too large to process',
  "model's maximum context length",
  'is longer than the maximum model length',
  "is longer than the model's context length",
]

/** "request (3031 tokens) exceeds ... (2048 tokens), try" and "batch size: 512" are of llama-server. */
const LIMIT = [
  /\((\d+) tokens\),? ?try/,
  /batch size: (\d+)/,
  /maximum context length (?:is|of) (\d+)/,
  /maximum model length of (\d+)/,
  /model's context length \((\d+)/,
]

const GIVEN = [
  /\((\d+) tokens\)/,
  /(\d+) input tokens/,
  /(\d+) (?:tokens )?(?:from the input|in the) messages/,
  /prompt \(length (\d+)\)/,
]

function tooLongText(message: string): string {
  const limit = numberIn(message, LIMIT)
  const given = numberIn(message, GIVEN)
  if (!given || !limit) return 'The input is longer than the context of this model.'
  // llama-server cuts the answer where the context ends; vLLM and SGLang refuse what might not fit.
  if (given < limit) {
    return (
      `This model takes at most ${limit} tokens of input and answer together here, and the input has ${given}. ` +
      'Ask for a shorter answer, or shorten the input.'
    )
  }
  return `This model takes at most ${limit} tokens here, and the input has ${given}. Shorten it.`
}

function numberIn(message: string, patterns: readonly RegExp[]): number | undefined {
  for (const pattern of patterns) {
    const [, digits] = pattern.exec(message) ?? []
    if (digits !== undefined) return Number(digits)
  }
  return undefined
}

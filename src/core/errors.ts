/**
 * Everything that can go wrong and be told. One row per code; there are no codes outside this table.
 *
 * `retryable` says whether the same request may succeed later. Where the HTTP status alone would make an
 * OpenAI SDK resend (408, 409, 429, 5xx) but a repeat cannot cure it, the answer carries
 * `x-should-retry: false`.
 */
const CODES = {
  // The caller is not known.
  missing_api_key: { status: 401, type: 'invalid_request_error', retryable: false },
  invalid_api_key: { status: 401, type: 'invalid_request_error', retryable: false },
  api_key_revoked: { status: 401, type: 'invalid_request_error', retryable: false },
  api_key_expired: { status: 401, type: 'invalid_request_error', retryable: false },
  api_key_disabled: { status: 401, type: 'invalid_request_error', retryable: false },
  invalid_token: { status: 401, type: 'invalid_request_error', retryable: false },
  token_expired: { status: 401, type: 'invalid_request_error', retryable: false },
  too_many_attempts: { status: 429, type: 'requests', retryable: true },
  invalid_grant: { status: 401, type: 'invalid_request_error', retryable: false },

  // The caller is known, and may not.
  origin_not_allowed: { status: 403, type: 'invalid_request_error', retryable: false },
  insufficient_permissions: { status: 403, type: 'invalid_request_error', retryable: false },
  ip_not_authorized: { status: 403, type: 'invalid_request_error', retryable: false },

  // The caller is known, may, and has had enough.
  rate_limit_exceeded: { status: 429, type: 'requests', retryable: true },
  concurrency_limit_exceeded: { status: 429, type: 'requests', retryable: true },
  connection_limit_exceeded: { status: 429, type: 'requests', retryable: true },
  request_exceeds_limit: { status: 429, type: 'tokens', retryable: false },
  insufficient_quota: { status: 429, type: 'insufficient_quota', retryable: false },

  // The request is wrong.
  invalid_json: { status: 400, type: 'invalid_request_error', retryable: false },
  invalid_value: { status: 400, type: 'invalid_request_error', retryable: false },
  unsupported_parameter: { status: 400, type: 'invalid_request_error', retryable: false },
  context_length_exceeded: { status: 400, type: 'invalid_request_error', retryable: false },
  model_not_found: { status: 404, type: 'invalid_request_error', retryable: false },
  unknown_url: { status: 404, type: 'invalid_request_error', retryable: false },
  conflict: { status: 409, type: 'invalid_request_error', retryable: false },
  upgrade_required: { status: 426, type: 'invalid_request_error', retryable: false },
  unknown_type: { status: 400, type: 'invalid_request_error', retryable: false },
  previous_response_not_found: { status: 400, type: 'invalid_request_error', retryable: false },
  stream_unrecoverable: { status: 410, type: 'invalid_request_error', retryable: false },
  idempotency_in_progress: { status: 409, type: 'invalid_request_error', retryable: true },
  idempotency_key_reused: { status: 422, type: 'invalid_request_error', retryable: false },
  not_found: { status: 404, type: 'invalid_request_error', retryable: false },
  method_not_allowed: { status: 405, type: 'invalid_request_error', retryable: false },
  request_timeout: { status: 408, type: 'invalid_request_error', retryable: true },
  request_too_large: { status: 413, type: 'invalid_request_error', retryable: false },
  unsupported_media_type: { status: 415, type: 'invalid_request_error', retryable: false },
  headers_too_large: { status: 431, type: 'invalid_request_error', retryable: false },
  client_closed_request: { status: 499, type: 'invalid_request_error', retryable: false },

  // The platform cannot serve it now, or ever.
  model_loading: { status: 503, type: 'server_error', retryable: true },
  insufficient_memory: { status: 503, type: 'server_error', retryable: true },
  model_does_not_fit: { status: 503, type: 'server_error', retryable: false },
  model_quarantined: { status: 503, type: 'server_error', retryable: false },
  model_unavailable: { status: 503, type: 'server_error', retryable: false },
  server_overloaded: { status: 503, type: 'server_error', retryable: true },
  queue_timeout: { status: 503, type: 'server_error', retryable: true },
  server_draining: { status: 503, type: 'server_error', retryable: true },
  storage_unavailable: { status: 503, type: 'server_error', retryable: true },
  pool_unavailable: { status: 503, type: 'server_error', retryable: true },
  node_unavailable: { status: 503, type: 'server_error', retryable: true },
  monitor_unavailable: { status: 503, type: 'server_error', retryable: true },
  notification_failed: { status: 502, type: 'server_error', retryable: true },
  engine_failed: { status: 502, type: 'server_error', retryable: true },
  upstream_unavailable: { status: 502, type: 'server_error', retryable: true },
  upstream_auth_failed: { status: 502, type: 'server_error', retryable: false },
  upstream_invalid_response: { status: 502, type: 'server_error', retryable: false },
  upstream_rate_limited: { status: 429, type: 'requests', retryable: true },
  upstream_timeout: { status: 504, type: 'server_error', retryable: true },
  websocket_connection_limit_reached: { status: 503, type: 'server_error', retryable: true },
  deadline_exceeded: { status: 504, type: 'server_error', retryable: false },
  not_implemented: { status: 501, type: 'server_error', retryable: false },
  internal_error: { status: 500, type: 'server_error', retryable: true },

  // Between services: whoever is asked does not lead, or whoever asks does not any more.
  not_leader: { status: 409, type: 'server_error', retryable: true },

  // The operator has something to do; mostly seen at the command line.
  invalid_configuration: { status: 500, type: 'server_error', retryable: false },
  invalid_arguments: { status: 400, type: 'invalid_request_error', retryable: false },
  already_running: { status: 409, type: 'server_error', retryable: false },
  not_running: { status: 503, type: 'server_error', retryable: false },
  address_in_use: { status: 500, type: 'server_error', retryable: false },
  database_unavailable: { status: 503, type: 'server_error', retryable: false },
  migration_failed: { status: 500, type: 'server_error', retryable: false },
  disk_full: { status: 507, type: 'server_error', retryable: false },
  backup_not_found: { status: 404, type: 'invalid_request_error', retryable: false },
  backup_invalid: { status: 422, type: 'invalid_request_error', retryable: false },
  backup_failed: { status: 500, type: 'server_error', retryable: false },
  model_invalid: { status: 422, type: 'invalid_request_error', retryable: false },
  model_in_use: { status: 409, type: 'invalid_request_error', retryable: false },
  model_exists: { status: 409, type: 'invalid_request_error', retryable: false },
  model_source_unavailable: { status: 502, type: 'server_error', retryable: false },
  download_interrupted: { status: 502, type: 'server_error', retryable: false },
  checksum_mismatch: { status: 502, type: 'server_error', retryable: false },
  compiler_missing: { status: 500, type: 'server_error', retryable: false },
  engine_missing: { status: 503, type: 'server_error', retryable: false },
  engine_build_failed: { status: 500, type: 'server_error', retryable: false },
  engine_unusable: { status: 500, type: 'server_error', retryable: false },
} as const satisfies Record<string, { status: number; type: ErrorType; retryable: boolean }>

export type ErrorType =
  | 'invalid_request_error'
  | 'server_error'
  | 'requests'
  | 'tokens'
  | 'insufficient_quota'

export type ErrorCode = keyof typeof CODES

/** Every code, for documents and tests that walk the whole table. */
export const ERROR_CODES = Object.keys(CODES) as readonly ErrorCode[]

export interface ErrorContext {
  /** Path of the offending parameter, as OpenAI writes it: `messages[0].content`. */
  readonly param?: string | undefined
  /** What the operator should read in the log when the public text must say less. */
  readonly internal?: string | undefined
  readonly cause?: unknown
  readonly retryAfterMs?: number | undefined
  /** Overrides the table: tokens were already generated, so a repeat would do the work twice. */
  readonly retryable?: boolean | undefined
  /** Overrides the table: which kind of limit was reached. */
  readonly type?: ErrorType | undefined
  /** Headers that the answer carries beside those of every failure. */
  readonly headers?: Readonly<Record<string, string>> | undefined
}

export interface ErrorBody {
  readonly error: {
    readonly message: string
    readonly type: ErrorType
    readonly param: string | null
    readonly code: ErrorCode
  }
}

/**
 * The only error class that crosses a folder boundary. `publicMessage` is written for the caller,
 * `message` for the operator reading the log.
 */
export class HelixError extends Error {
  override readonly name = 'HelixError'
  readonly status: number
  readonly type: ErrorType
  readonly param: string | undefined
  readonly retryAfterMs: number | undefined
  readonly retryable: boolean
  readonly headers: Readonly<Record<string, string>> | undefined

  constructor(
    readonly code: ErrorCode,
    readonly publicMessage: string,
    context: ErrorContext = {},
  ) {
    super(context.internal ?? publicMessage, { cause: context.cause })
    this.status = CODES[code].status
    this.type = context.type ?? CODES[code].type
    this.param = context.param
    this.retryAfterMs = context.retryAfterMs
    this.retryable = context.retryable ?? CODES[code].retryable
    this.headers = context.headers
  }

  /** Wraps anything caught; an unknown error never leaks its text to the caller. */
  static from(reason: unknown): HelixError {
    if (reason instanceof HelixError) return reason
    const internal = reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)
    return new HelixError(
      'internal_error',
      'Internal error. The request id identifies it in the server log.',
      {
        internal,
        cause: reason,
      },
    )
  }

  /** The body of the error contract, the shape that every OpenAI client parses. */
  toBody(): ErrorBody {
    return {
      error: { message: this.publicMessage, type: this.type, param: this.param ?? null, code: this.code },
    }
  }

  /** The same failure after tokens were generated: a blind repeat would generate them again. */
  withoutRetry(): HelixError {
    return new HelixError(this.code, this.publicMessage, {
      param: this.param,
      internal: this.message,
      cause: this.cause,
      retryable: false,
    })
  }
}

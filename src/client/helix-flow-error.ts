export interface HelixFlowErrorDetails {
  /** As HTTP would have it; undefined where no server was asked. */
  readonly status?: number | undefined
  readonly type?: string | undefined
  /** Path of the offending parameter. */
  readonly param?: string | undefined
  /** Whether the same may succeed later. */
  readonly retryable?: boolean | undefined
  readonly retryAfterMs?: number | undefined
  /** Why a stream cannot be continued: not_found, expired, epoch, gap. */
  readonly reason?: string | undefined
  readonly cause?: unknown
}

/**
 * The only error that this client throws. `code` is one of the server's, or one of its own: `integrity`, `cancelled`,
 * `closed`, `unreachable`, `connection_lost`, `connection_refused`, `queue_full`, `consumed`, `conflict`.
 */
export class HelixFlowError extends Error {
  override readonly name = 'HelixFlowError'
  readonly status: number | undefined
  readonly type: string | undefined
  readonly param: string | undefined
  readonly retryable: boolean
  readonly retryAfterMs: number | undefined
  readonly reason: string | undefined

  constructor(
    readonly code: string,
    message: string,
    details: HelixFlowErrorDetails = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.status = details.status
    this.type = details.type
    this.param = details.param
    this.retryable = details.retryable ?? false
    this.retryAfterMs = details.retryAfterMs
    this.reason = details.reason
  }
}

import { Code, ConnectError } from '@connectrpc/connect'
import { ERROR_CODES, type ErrorCode, HelixError } from '../core/errors.ts'

/** Carries a failure's own code, since gRPC has only sixteen. */
const METADATA = 'helixflow-error-bin'

interface Carried {
  readonly code: ErrorCode
  readonly message: string
  readonly param?: string | undefined
  readonly retryAfterMs?: number | undefined
  readonly retryable: boolean
}

/** A failure on its way to another service: its code and its public text, and nothing of its inside. */
export function toConnectError(reason: unknown): ConnectError {
  const { code, publicMessage, param, retryAfterMs, retryable, status } = HelixError.from(reason)
  const carried: Carried = { code, message: publicMessage, param, retryAfterMs, retryable }
  const value = Buffer.from(JSON.stringify(carried)).toString('base64')
  return new ConnectError(publicMessage, CODE_OF_STATUS[status] ?? Code.Unknown, { [METADATA]: value })
}

/** The failure that another service told of; `fallback` when the service itself could not be reached. */
export function fromConnectError(reason: unknown, fallback: HelixError): HelixError {
  const error = ConnectError.from(reason)
  const carried = parse(error.metadata.get(METADATA))
  if (carried) {
    const { code, message, ...context } = carried
    return new HelixError(code, message, { ...context, cause: reason })
  }
  // Our services always say which; whatever does not was said by the way to them.
  return fallback
}

const CODE_OF_STATUS: Readonly<Record<number, Code>> = {
  400: Code.InvalidArgument,
  401: Code.Unauthenticated,
  403: Code.PermissionDenied,
  404: Code.NotFound,
  409: Code.FailedPrecondition,
  422: Code.FailedPrecondition,
  429: Code.ResourceExhausted,
  500: Code.Internal,
  501: Code.Unimplemented,
  502: Code.Unavailable,
  503: Code.Unavailable,
  504: Code.DeadlineExceeded,
}

function parse(value: string | null): Carried | undefined {
  if (value === null) return undefined
  const carried = JSON.parse(Buffer.from(value, 'base64').toString('utf8')) as Carried
  // A newer service may have codes that this one does not know.
  return ERROR_CODES.includes(carried.code) ? carried : undefined
}

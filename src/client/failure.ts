import { HelixFlowError } from './helix-flow-error.ts'
import type { Failure } from './messages.ts'

/** A failure that the server told. */
export function toError({ error, status, retryable, retry_after_ms }: Failure): HelixFlowError {
  return new HelixFlowError(error.code, error.message, {
    status,
    type: error.type,
    param: error.param ?? undefined,
    retryable,
    retryAfterMs: retry_after_ms,
  })
}

/**
 * What has come of a stream cannot be continued. Before anything has come, the request can be made anew; afterwards it
 * would give another text.
 */
export function unrecoverable(reason: string, seenSeq: number): HelixFlowError {
  return new HelixFlowError('stream_unrecoverable', `The stream cannot be continued: ${reason}.`, {
    status: 410,
    reason,
    retryable: seenSeq === 0,
  })
}

/** The caller did not want it any more. */
export function cancelled(cause?: unknown): HelixFlowError {
  return new HelixFlowError('cancelled', 'Cancelled by the caller.', { cause })
}

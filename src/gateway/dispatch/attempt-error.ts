import { HelixError } from '../../core/errors.ts'
import { denialError } from './denial.ts'
import type { Exchange } from './exchange.ts'
import type { Lease } from './lease.ts'
import type { RelayResult } from './relay.ts'

export type Failure = Exclude<RelayResult, { kind: 'complete' }>

/** Why an attempt did not bring an answer. */
export function attemptError(
  result: Failure,
  exchange: Exchange,
  lease: Lease,
  signal: AbortSignal,
): HelixError {
  const isUnanswered = result.kind === 'unanswered'
  return isUnanswered
    ? unansweredError(lease, result.cause)
    : HelixError.from(failureOf(result, exchange, lease, signal))
}

/** The same as it is thrown: of one that was aborted, the reason for that. */
export function failureOf(
  result: Exclude<Failure, { kind: 'unanswered' }>,
  exchange: Exchange,
  lease: Lease,
  signal: AbortSignal,
): unknown {
  switch (result.kind) {
    case 'denied':
      return denialError(result, lease.replica.engine, exchange)
    case 'broken':
      return result.error
    case 'aborted':
      return signal.reason
  }
}

/** Nothing came back. */
export function unansweredError(lease: Lease, cause: unknown): HelixError {
  const internal = `no answer from ${lease.replica.id}: ${String(cause)}`
  if (lease.replica.engine === 'upstream') {
    return new HelixError('upstream_unavailable', 'The upstream server cannot be reached.', {
      internal,
      cause,
      retryAfterMs: 1_000,
    })
  }
  return new HelixError('engine_failed', 'The engine failed before it answered.', {
    internal,
    cause,
    retryAfterMs: 1_000,
  })
}

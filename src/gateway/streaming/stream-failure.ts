import { type ErrorBody, HelixError } from '../../core/errors.ts'
import type { StreamEvent, Unrecoverable } from '../../streams/stream-event.ts'

interface FailureFields extends ErrorBody {
  readonly retryable: boolean
  readonly retry_after_ms?: number
}

/** The failure that ended a stream, as whoever made it threw it. */
export function failureOf({ data }: StreamEvent): HelixError {
  const { error, retryable, retry_after_ms: retryAfterMs } = JSON.parse(data) as FailureFields
  const { code, message, type, param } = error
  return new HelixError(code, message, { type, param: param ?? undefined, retryable, retryAfterMs })
}

const WHY: Readonly<Record<Unrecoverable, string>> = {
  not_found: 'There is no such stream.',
  expired: 'This stream ended a while ago and is not kept any more.',
  epoch: 'This stream was lost and made anew since: what you have of it cannot be continued.',
  gap: 'What follows in this stream is not kept any more, or you are ahead of it.',
}

/** Why a stream cannot be continued; one that is not there is nothing but not found. */
export function unrecoverable(reason: Unrecoverable): HelixError {
  const code = reason === 'not_found' ? 'not_found' : 'stream_unrecoverable'
  return new HelixError(code, WHY[reason], { headers: { 'x-helixflow-reason': reason } })
}

import type { IncomingHttpHeaders } from 'node:http'
import { parseDuration } from '../../config/quantities.ts'
import { HelixError } from '../../core/errors.ts'

/** How long a stream goes on while nobody reads it. */
export const DETACH_HEADER = 'x-helixflow-detach'
/** Names the stream that can be read again. */
export const STREAM_HEADER = 'x-helixflow-stream'

const DETACH_MAX_MS = 600_000

/** Undefined where the request does not say. @throws HelixError `invalid_value` */
export function detachOf(headers: IncomingHttpHeaders): number | undefined {
  const given = headers[DETACH_HEADER]
  if (given === undefined) return undefined
  const detachMs = typeof given === 'string' ? parseDuration(given) : undefined
  if (detachMs !== undefined && detachMs <= DETACH_MAX_MS) return detachMs
  throw detachRefused('write for example 30s, and at most 10m')
}

export function detachRefused(problem: string): HelixError {
  return new HelixError('invalid_value', `Invalid value: '${DETACH_HEADER}': ${problem}.`, {
    param: DETACH_HEADER,
  })
}

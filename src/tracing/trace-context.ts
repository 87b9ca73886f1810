import type { TraceHeaders } from '../core/tracing.ts'

/** A span of somebody else, of which work here is a part. */
export interface RemoteSpan {
  readonly traceId: string
  readonly spanId: string
  /** Whether it is recorded there. */
  readonly sampled: boolean
  /** What other tracing systems on the way have added. */
  readonly state: string | undefined
}

/** A later version may add fields at the end; version ff is none. */
const TRACEPARENT = /^(?!ff)([\da-f]{2})-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(-.*)?$/
const SAMPLED = 1
/** The shortest that W3C asks to be passed on whole. Every span carries it: a caller does not get to send more. */
const STATE_LENGTH_MAX = 512

/** What W3C Trace Context, level 1, says of who asked; undefined where it says nothing that can be read. */
export function remoteSpan({ traceparent, tracestate }: TraceHeaders): RemoteSpan | undefined {
  if (typeof traceparent !== 'string') return undefined
  const [, version, traceId, spanId, flags = '', more] = TRACEPARENT.exec(traceparent.trim()) ?? []
  if (traceId === undefined || spanId === undefined) return undefined
  if (version === '00' && more !== undefined) return undefined
  const sampled = (Number.parseInt(flags, 16) & SAMPLED) !== 0
  const text = typeof tracestate === 'string' ? tracestate : tracestate?.join(',')
  const state = text !== undefined && text.length <= STATE_LENGTH_MAX ? text : undefined
  return { traceId, spanId, sampled, state }
}

/** The headers with which another process goes on with a recorded span. */
export function contextHeaders(traceId: string, spanId: string, state: string): Record<string, string> {
  const traceparent = `00-${traceId}-${spanId}-01`
  return state === '' ? { traceparent } : { traceparent, tracestate: state }
}

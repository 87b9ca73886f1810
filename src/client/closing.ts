import { HelixFlowError } from './helix-flow-error.ts'

/** What to do after a connection has ended: come back, come back after a while, or give up. */
export type Verdict =
  | { readonly kind: 'again' | 'later' }
  | { readonly kind: 'final'; readonly error: HelixFlowError }

/** What the code of a close means; docs/realtime.md has the table. */
export function verdictOf(code: number, reason: string): Verdict {
  if (code === TRY_LATER) return { kind: 'later' }
  if (code < 3_000 && !FINAL.has(code)) return { kind: 'again' }
  const { errorCode, status } = OWN[code] ?? {
    errorCode: CODE.test(reason) ? reason : 'connection_refused',
    status: 400,
  }
  return { kind: 'final', error: new HelixFlowError(errorCode, textOf(code, reason), { status }) }
}

const TRY_LATER = 1013
/** Protocol, kind of data, UTF-8, policy, size, extension: the next connection would end in the same way. */
const FINAL = new Set([1002, 1003, 1007, 1008, 1009, 1010])
const OWN: Readonly<Record<number, { readonly errorCode: string; readonly status: number }>> = {
  4401: { errorCode: 'token_expired', status: 401 },
  4403: { errorCode: 'api_key_revoked', status: 401 },
  4408: { errorCode: 'request_timeout', status: 408 },
  4429: { errorCode: 'connection_limit_exceeded', status: 429 },
}
const CODE = /^[a-z][a-z_]{2,63}$/

function textOf(code: number, reason: string): string {
  return `The server ended the connection for good (${code}${reason === '' ? '' : `, ${reason}`}).`
}

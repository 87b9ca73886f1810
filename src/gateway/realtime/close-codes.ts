import type { HelixError } from '../../core/errors.ts'

/** Why a connection ends; docs/realtime.md has the table. */
export const CLOSE = {
  leaving: 1001,
  abuse: 1008,
  bug: 1011,
  restart: 1012,
  overload: 1013,
  expired: 4401,
  revoked: 4403,
  noHello: 4408,
} as const

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE]

/** What is used where a code is no secret between us and our own clients only. */
export function plainCode(code: CloseCode): number {
  return code >= 4_000 ? CLOSE.abuse : code
}

/** The end of a credential. */
export function endOfCredential({ code }: HelixError): CloseCode {
  return code === 'token_expired' || code === 'api_key_expired' ? CLOSE.expired : CLOSE.revoked
}

/** As the metric names it: what a client sends must not make names. */
export function codeLabel(code: number): string {
  const known = (code >= 1_000 && code <= 1_015) || (Object.values(CLOSE) as number[]).includes(code)
  return known ? String(code) : 'other'
}

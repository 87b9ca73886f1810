/** What became of one attempt to tell a receiver. */
export type ReceiverAnswer =
  | { readonly kind: 'delivered' }
  /** Worth another try: it is away, overloaded, or has a fault. */
  | { readonly kind: 'later'; readonly reason: string; readonly afterMs?: number | undefined }
  /** It will never take it: the address, the credential or the message is wrong. */
  | { readonly kind: 'refused'; readonly reason: string }

/** Longer waits that a receiver asks for are not taken at its word. */
const AFTER_MAX_MS = 3_600_000

/** By the status of HTTP. 408, 425 and 429 ask for another try as 5xx do; a redirect is not followed, hence refused. */
export function answerOfStatus(
  status: number,
  retryAfter: string | undefined,
  nowMs: number,
): ReceiverAnswer {
  const reason = `it answered ${status}`
  if (status >= 200 && status < 300) return { kind: 'delivered' }
  if (status >= 300 && status < 400)
    return { kind: 'refused', reason: `${reason}, and redirects are not followed` }
  if (status < 500 && ![408, 425, 429].includes(status)) return { kind: 'refused', reason }
  return { kind: 'later', reason, afterMs: retryAfterMs(retryAfter, nowMs) }
}

/** Seconds or a date, as RFC 9110 has them; undefined for anything else. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined
  const waitMs = /^\d{1,9}$/.test(header.trim()) ? Number(header) * 1_000 : Date.parse(header) - nowMs
  return Number.isNaN(waitMs) ? undefined : Math.min(AFTER_MAX_MS, Math.max(0, waitMs))
}

/** 1 s, 2 s, 4 s and so on up to 5 min, each with half of it left to chance, so that many do not come at once. */
export function backoffMs(attempts: number, uniform: number): number {
  const wholeMs = Math.min(300_000, 1_000 * 2 ** Math.min(attempts - 1, 20))
  return wholeMs / 2 + (wholeMs / 2) * uniform
}

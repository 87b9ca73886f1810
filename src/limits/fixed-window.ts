import type { Counter, Terms } from './counter.ts'

interface Window {
  /** A multiple of the window's length since 1970. */
  startMs: number
  used: number
}

/**
 * `limit` per window, windows one after the other. Cheapest, and the answer to "when is it reset" is a time on the
 * clock; at the edge between two windows up to twice the limit can pass within one window's length.
 */
export const fixedWindow: Counter<Window> = {
  start: () => ({ startMs: Number.NEGATIVE_INFINITY, used: 0 }),
  advance: (terms, window, nowMs) => {
    const startMs = nowMs - (nowMs % terms.windowMs)
    if (startMs <= window.startMs) return
    window.startMs = startMs
    window.used = 0
  },
  remaining: (terms, window) => terms.limit - window.used,
  waitMs: (terms, window, cost, nowMs) => {
    if (cost > terms.limit) return Number.POSITIVE_INFINITY
    return window.used + cost <= terms.limit ? 0 : untilEnd(terms, window, nowMs)
  },
  resetMs: (terms, window, nowMs) => (window.used > 0 ? untilEnd(terms, window, nowMs) : 0),
  take: (_terms, window, cost) => {
    window.used += cost
    return window.startMs
  },
  adjust: (_terms, window, entry, by) => {
    // What was charged to a window that is over stays with it.
    if (entry.atMs === window.startMs) window.used += by
  },
  isFresh: (_terms, window) => window.used === 0,
}

function untilEnd({ windowMs }: Terms, { startMs }: Window, nowMs: number): number {
  return startMs + windowMs - nowMs
}

import type { Counter, Terms } from './counter.ts'

interface Logged {
  readonly name: string
  readonly atMs: number
  cost: number
}

interface Log {
  /** Oldest first; those before `first` are over. */
  entries: Logged[]
  first: number
  used: number
}

/** Entries of one log. Beyond it new ones are gathered, so that no rule and no caller can make it grow without end. */
export const LOG_ENTRIES_MAX = 4_096
/** Gathered entries of a window: so many that the limit is kept within a third of a percent. */
export const GATHERED_MAX = 600

/**
 * No more than `limit` within any window's length, exactly: a log of (time, cost) pairs over (now - window, now]. A full
 * log steps down to a counter: what comes is gathered into pieces of a 600th of the window and counted at the end of its
 * piece, so that it is held to be used a little longer than it was, and never too short.
 */
export const slidingWindow: Counter<Log> = {
  start: () => ({ entries: [], first: 0, used: 0 }),
  advance: (terms, log, nowMs) => {
    let oldest = log.entries[log.first]
    while (oldest && oldest.atMs <= nowMs - terms.windowMs) {
      log.used -= oldest.cost
      log.first++
      oldest = log.entries[log.first]
    }
    // In one piece now and then, and not at each step.
    if (log.first > 64 && log.first * 2 > log.entries.length) {
      log.entries = log.entries.slice(log.first)
      log.first = 0
    }
  },
  remaining: (terms, log) => terms.limit - log.used,
  waitMs: (terms, log, cost, nowMs) => {
    if (cost > terms.limit) return Number.POSITIVE_INFINITY
    let missing = log.used + cost - terms.limit
    if (missing <= 0) return 0
    for (let at = log.first; ; at++) {
      const entry = log.entries[at]
      if (!entry) return terms.windowMs
      missing -= entry.cost
      if (missing <= 0) return entry.atMs + terms.windowMs - nowMs
    }
  },
  resetMs: (terms, log, nowMs) => {
    const newest = log.entries.at(-1)
    return newest && log.entries.length > log.first ? newest.atMs + terms.windowMs - nowMs : 0
  },
  take: (terms, log, cost, { name, atMs: nowMs }) => {
    const newest = log.entries.length > log.first ? log.entries.at(-1) : undefined
    log.used += cost
    if (isFull(log)) {
      const pieceMs = pieceOf(terms)
      const endMs = Math.max(newest?.atMs ?? 0, Math.ceil(nowMs / pieceMs) * pieceMs)
      if (newest?.name === gathered(endMs)) newest.cost += cost
      else log.entries.push({ name: gathered(endMs), atMs: endMs, cost })
      return endMs
    }
    // A clock that was set back must not put an entry before an older one.
    const atMs = Math.max(newest?.atMs ?? nowMs, nowMs)
    log.entries.push({ name, atMs, cost })
    return atMs
  },
  adjust: (_terms, log, { name, atMs }, by) => {
    // Mostly one of the newest; one that is over is no longer there.
    for (let at = log.entries.length - 1; at >= log.first; at--) {
      const entry = log.entries[at]
      if (!entry || entry.atMs < atMs) return
      if (entry.name !== name && entry.name !== gathered(atMs)) continue
      entry.cost += by
      log.used += by
      return
    }
  },
  isFresh: (_terms, log) => log.entries.length === log.first,
}

/** Whether new entries are gathered. */
export function isFull(log: { readonly entries: readonly unknown[]; readonly first: number }): boolean {
  return log.entries.length - log.first >= LOG_ENTRIES_MAX
}

/** What is gathered until then; no request has such a name. */
function gathered(endMs: number): string {
  return `~${endMs}`
}

function pieceOf({ windowMs }: Terms): number {
  return Math.max(1, Math.ceil(windowMs / GATHERED_MAX))
}

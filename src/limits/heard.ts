import { partOf, type Share } from './share.ts'
import type { Charge, Standing } from './store.ts'

/** A counter, by whom it counts. */
export interface Known {
  readonly tenant: string
  readonly charge: Charge
}

interface Entry extends Known {
  remaining: number
  resetMs: number
  heardMs: number
  /** When this gateway last asked for it on behalf of a request. */
  usedMs: number
}

/** A counter that was used within this is in use: it is asked about again and again. */
const IN_USE_MS = 60_000
/** A log frees what is in it at times that nobody was told: what it said is of no use after this. */
const LOG_BELIEVED_MS = 60_000
/** What was heard within this is new enough: asked for every second, nothing in use is older than two. */
const FRESH_MS = 1_000
/** At once; they take a few milliseconds of the shared store. */
const DUE_MAX = 500

/**
 * What the shared store last said of each counter: what was left is what can be left at most, for others only take.
 * With that, and with nothing else, a gateway that decides alone admits less than its share.
 */
export class Heard {
  /** Heard longest ago first. */
  private readonly entries = new Map<string, Entry>()

  /** A request asked, and was told. */
  used(known: Known, standing: Standing, nowMs: number): void {
    this.set(known, standing, nowMs, nowMs)
  }

  /** It was told without a request. */
  told(known: Known, standing: Standing, nowMs: number): void {
    const entry = this.entries.get(nameOf(known))
    if (entry) this.set(entry, standing, nowMs, entry.usedMs)
  }

  /**
   * This gateway's part of what can be left of a counter; undefined where nothing is known, or where by what is known
   * all of it is there again.
   */
  left(known: Known, share: Share, nowMs: number): number | undefined {
    const entry = this.entries.get(nameOf(known))
    if (!entry || nowMs >= believedUntilMs(entry)) return undefined
    const { kind, limit, windowMs } = entry.charge
    const refilled = kind === 'token-bucket' ? (limit * (nowMs - entry.heardMs)) / windowMs : 0
    return partOf(Math.floor(entry.remaining + refilled), share)
  }

  /** Counters in use of which nothing was heard lately. */
  due(nowMs: number): readonly Known[] {
    const due: Known[] = []
    for (const entry of this.entries.values()) {
      if (entry.heardMs > nowMs - FRESH_MS || due.length >= DUE_MAX) return due
      if (entry.usedMs > nowMs - IN_USE_MS) due.push(entry)
    }
    return due
  }

  /** Forgets what is of no use any more. */
  sweep(nowMs: number): void {
    for (const [name, entry] of this.entries) {
      if (entry.usedMs <= nowMs - IN_USE_MS && nowMs >= believedUntilMs(entry)) this.entries.delete(name)
    }
  }

  private set(known: Known, { remaining, resetMs }: Standing, heardMs: number, usedMs: number): void {
    const { tenant, charge } = known
    const name = nameOf(known)
    // To the end of the order.
    this.entries.delete(name)
    this.entries.set(name, { tenant, charge, remaining, resetMs, heardMs, usedMs })
  }
}

/** By then it is full again, or nobody can say. */
function believedUntilMs({ charge, heardMs, resetMs }: Entry): number {
  return heardMs + (charge.kind === 'sliding-window' ? Math.min(LOG_BELIEVED_MS, resetMs) : resetMs)
}

function nameOf({ tenant, charge }: Known): string {
  return `${tenant}/${charge.key}`
}

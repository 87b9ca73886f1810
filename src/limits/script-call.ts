import type { CounterKind, Terms } from './counter.ts'
import type { Charge, Standing, Verdict } from './store.ts'

/** What a line of a call asks for; the numbers are places in the table of lua/decide.lua. */
export const MODES = {
  peek: 1,
  reserve: 2,
  reserveAgain: 3,
  renew: 4,
  settle: 5,
  reserveHeld: 6,
  renewHeld: 7,
  settleHeld: 8,
} as const

/** As lua/counters.lua numbers them. */
const KINDS: Readonly<Record<CounterKind, number>> = {
  'token-bucket': 1,
  'fixed-window': 2,
  'sliding-window': 3,
  gauge: 4,
  budget: 5,
}

export type Mode = (typeof MODES)[keyof typeof MODES]

/** One question of a call. */
export interface Line {
  readonly mode: Mode
  /** What its mode names: up to two keys, and a number. */
  readonly first?: string
  readonly second?: string
  readonly number?: number | undefined
  /** Begins the key of every counter. */
  readonly base: string
  readonly charges: readonly Charge[]
}

/** Who waits for the answer to a line. */
export interface Waiting {
  /** What each charge really cost, where it is settled: then its answer says nothing about them. */
  readonly costs: readonly number[] | undefined
  readonly resolve: (verdict: Verdict) => void
  readonly reject: (reason: unknown) => void
}

/**
 * Fewer cost more each; with more, this process waits for the server and the server for this process, instead of one
 * filling a call while the other decides about the one before.
 */
const LINES_MAX = 32
/** Where requests have many rules. */
const KEYS_MAX = 1_000

/**
 * One call of the script that decides. Its lines share what they have in common: rules are told once, and everything that
 * is no name is a number in one list, because each word of its own costs both sides more than the decision.
 */
export class ScriptCall {
  readonly keys: string[]
  /** Of each key, counted from 1. */
  private readonly places = new Map<string, number>()
  private readonly terms: Terms[] = []
  private readonly numbers: number[] = []
  private readonly waiting: Waiting[] = []
  /** Of how many charges each answer speaks. */
  private readonly counts: number[] = []

  /**
   * @param mark the key under which is kept which of its requests were charged
   * @param nowMs instead of the server's own time
   */
  constructor(
    readonly mark: string,
    readonly nowMs: number | undefined,
  ) {
    this.keys = [mark]
    this.places.set(mark, 1)
  }

  /** Of the line that is added next, from 1. */
  get nextPlace(): number {
    return this.waiting.length + 1
  }

  get isFull(): boolean {
    return this.waiting.length >= LINES_MAX || this.keys.length >= KEYS_MAX
  }

  add({ mode, first, second, number, base, charges }: Line, waiting: Waiting): void {
    const { numbers } = this
    const { costs } = waiting
    this.waiting.push(waiting)
    this.counts.push(costs ? 0 : charges.length)
    numbers.push(mode)
    if (first !== undefined) numbers.push(this.placeOf(first))
    if (second !== undefined) numbers.push(this.placeOf(second))
    if (number !== undefined) numbers.push(number)
    numbers.push(charges.length)
    for (let place = 0; place < charges.length; place++) {
      const charge = charges[place] as Charge
      numbers.push(this.placeOfTerms(charge), this.placeOf(`${base}c:${charge.key}`), charge.cost)
      if (costs) numbers.push(costs[place] ?? 0)
    }
  }

  /** What the script is told beside the keys. */
  words(): readonly [time: string, terms: string, numbers: string] {
    const terms = this.terms.flatMap(({ kind, limit, windowMs, burst }) => [
      KINDS[kind],
      limit,
      windowMs,
      burst,
    ])
    return [String(this.nowMs ?? ''), JSON.stringify(terms), JSON.stringify(this.numbers)]
  }

  answered(numbers: Buffer): void {
    const answers = new Answers(numbers)
    for (let place = 0; place < this.waiting.length; place++)
      this.waiting[place]?.resolve(answers.verdict(this.counts[place] ?? 0))
  }

  failed(reason: unknown): void {
    for (const { reject } of this.waiting) reject(reason)
  }

  private placeOf(key: string): number {
    let place = this.places.get(key)
    if (place === undefined) {
      place = this.keys.push(key)
      this.places.set(key, place)
    }
    return place
  }

  /** Rules are few in one call: most of its requests have the same. */
  private placeOfTerms({ kind, limit, windowMs, burst }: Terms): number {
    for (let place = 0; place < this.terms.length; place++) {
      const one = this.terms[place] as Terms
      if (one.limit === limit && one.kind === kind && one.windowMs === windowMs && one.burst === burst)
        return place + 1
    }
    return this.terms.push({ kind, limit, windowMs, burst })
  }
}

/** The numbers that a call was answered, one after the other. */
class Answers {
  private at = 0

  constructor(private readonly numbers: Buffer) {}

  verdict(count: number): Verdict {
    const gathered = this.next() === 1
    const refused = this.next()
    const wait = refused < 0 ? 0 : this.next()
    const standings: Standing[] = []
    let unseeded = NONE
    for (let place = 0; place < count; place++) {
      const remaining = this.next()
      if (remaining < 0) unseeded = [...unseeded, place]
      standings.push({ remaining: Math.max(0, remaining), resetMs: this.next() })
    }
    return {
      refused: refused < 0 ? undefined : refused,
      waitMs: wait < 0 ? Number.POSITIVE_INFINITY : wait,
      standings,
      unseeded,
      gathered,
    }
  }

  private next(): number {
    const number = this.numbers.readDoubleLE(this.at)
    this.at += 8
    return number
  }
}

const NONE: readonly number[] = []

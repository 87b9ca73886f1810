import { type Random, seededRandom } from '../../src/core/random.ts'
import type { CounterKind, Terms } from '../../src/limits/counter.ts'

/** What a specification says of one arrival. */
export interface Expected {
  readonly allowed: boolean
  readonly remaining: number
}

/** The specification of an algorithm, written for clarity and not for speed, and not with the code it judges. */
export interface Model {
  arrive(nowMs: number, cost: number): Expected
}

export type WindowKind = Extract<CounterKind, 'token-bucket' | 'sliding-window' | 'fixed-window'>

export function modelOf(terms: Terms): Model {
  switch (terms.kind as WindowKind) {
    case 'token-bucket':
      return tokenBucketModel(terms)
    case 'sliding-window':
      return slidingWindowModel(terms)
    case 'fixed-window':
      return fixedWindowModel(terms)
  }
}

/** As fractions of exact integers: tokens = level / window. */
function tokenBucketModel({ limit, windowMs, burst }: Terms): Model {
  const window = BigInt(windowMs)
  const capacity = BigInt(burst) * window
  let level = capacity
  let lastMs: number | undefined
  return {
    arrive: (nowMs, cost) => {
      if (lastMs !== undefined && nowMs > lastMs) level += BigInt(limit) * BigInt(nowMs - lastMs)
      if (level > capacity) level = capacity
      lastMs = Math.max(nowMs, lastMs ?? nowMs)
      const allowed = level >= BigInt(cost) * window
      if (allowed) level -= BigInt(cost) * window
      return { allowed, remaining: Number(level / window) }
    },
  }
}

/** Every admitted arrival is remembered; what counts is what lies in (now - window, now]. */
function slidingWindowModel({ limit, windowMs }: Terms): Model {
  let admitted: { atMs: number; cost: number }[] = []
  return {
    arrive: (nowMs, cost) => {
      admitted = admitted.filter(({ atMs }) => atMs > nowMs - windowMs)
      const used = admitted.reduce((sum, one) => sum + one.cost, 0)
      const allowed = used + cost <= limit
      // A clock that was set back does not make an arrival older than one that came before it.
      if (allowed) admitted.push({ atMs: Math.max(nowMs, admitted.at(-1)?.atMs ?? nowMs), cost })
      return { allowed, remaining: limit - used - (allowed ? cost : 0) }
    },
  }
}

function fixedWindowModel({ limit, windowMs }: Terms): Model {
  const used = new Map<number, number>()
  let current = Number.NEGATIVE_INFINITY
  return {
    arrive: (nowMs, cost) => {
      current = Math.max(current, Math.floor(nowMs / windowMs))
      const before = used.get(current) ?? 0
      const allowed = before + cost <= limit
      if (allowed) used.set(current, before + cost)
      return { allowed, remaining: limit - before - (allowed ? cost : 0) }
    },
  }
}

export interface Arrival {
  readonly nowMs: number
  /** Which of the counters. */
  readonly place: number
  readonly cost: number
}

const COUNTERS = 20

/** Counters of one kind, small and large, short and long. */
export function termsOf(kind: WindowKind, seed: number): Terms[] {
  const random = seededRandom(seed)
  return Array.from({ length: COUNTERS }, () => {
    const limit = pick(random, [1, 2, 7, 10, 33, 100, 250])
    const burst =
      kind === 'token-bucket' ? Math.max(1, Math.round(limit * pick(random, [0.5, 1, 1, 3]))) : limit
    return { kind, limit, windowMs: pick(random, [1_000, 3_000, 10_000, 60_000]), burst }
  })
}

/** Several in the same millisecond, bursts, the very edges of windows, long silences, clocks that are set, weights. */
export function* arrivals(terms: readonly Terms[], count: number, seed: number): Generator<Arrival> {
  const random = seededRandom(seed)
  let nowMs = 1_700_000_000_000
  for (let made = 0; made < count; made++) {
    const place = Math.floor(random.uniform() * terms.length)
    const { windowMs, limit } = terms[place] as Terms
    const chance = random.uniform()
    if (chance < 0.35) nowMs += 0
    else if (chance < 0.8) nowMs += Math.floor(random.uniform() * 40)
    else if (chance < 0.9) nowMs += Math.floor(random.uniform() * 400)
    else if (chance < 0.95) nowMs += windowMs - (nowMs % windowMs) - Math.floor(random.uniform() * 2)
    else if (chance < 0.97) nowMs += windowMs + Math.floor(random.uniform() * 3) - 1
    else if (chance < 0.999) nowMs += Math.floor(random.uniform() * 2 * windowMs)
    else nowMs += pick(random, [-3_600_000, -5_000, -1, 3_600_000])
    yield { nowMs, place, cost: random.uniform() < 0.7 ? 1 : Math.floor(random.uniform() * (limit + 2)) }
  }
}

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[Math.floor(random.uniform() * choices.length)] as T
}

import { readFileSync } from 'node:fs'
import { seededRandom } from '../../src/core/random.ts'

/** Accesses in order; keys are numbers from 0 without gaps, each named by when it first came. */
export type Trace = Uint32Array

export interface ConversationTraffic {
  readonly requests: number
  /** How many conversations are open at any time. */
  readonly open: number
  readonly seed: number
}

/** What every conversation begins with. */
const FIRST_BLOCK = 0

/** Keys of which the n-th most popular is asked for in proportion to n to the power of -exponent. */
export function zipfTrace(
  exponent: number,
  { keys, accesses, seed }: { keys: number; accesses: number; seed: number },
): Trace {
  const random = seededRandom(seed)
  const cumulative = new Float64Array(keys)
  let sum = 0
  for (let rank = 0; rank < keys; rank++) {
    sum += (rank + 1) ** -exponent
    cumulative[rank] = sum
  }
  return numbered(Array.from({ length: accesses }, () => firstAbove(cumulative, random.uniform() * sum)))
}

/**
 * Prefix blocks as conversations reuse them, after Mooncake's: each request asks for all that its conversation has said so
 * far and adds to it; many conversations are open at once, and nobody asks for one that has ended.
 */
export function conversationTrace({ requests, open, seed }: ConversationTraffic): Trace {
  const random = seededRandom(seed)
  const below = (end: number) => Math.floor(random.uniform() * end)
  let blocks = 1
  const conversations: number[][] = Array.from({ length: open }, () => [])
  const keys: number[] = []
  for (let request = 0; request < requests; request++) {
    const at = below(open)
    const before = conversations[at] ?? []
    const goesOn = before.length > 0 && random.uniform() < 0.5
    const more = goesOn ? 1 + below(6) : 5 + below(20)
    const said = [...(goesOn ? before : [FIRST_BLOCK]), ...Array.from({ length: more }, () => blocks++)]
    conversations[at] = said
    keys.push(...said)
  }
  return numbered(keys)
}

/** The KV blocks of a Mooncake trace, request after request. */
export function mooncakeTrace(path: string): Trace {
  const lines = readFileSync(path, 'utf8').split('\n').filter(Boolean)
  return numbered(lines.flatMap((line): readonly number[] => JSON.parse(line).hash_ids))
}

/** Names keys by the order of their first access. */
export function numbered(keys: readonly number[]): Trace {
  const names = new Map<number, number>()
  return Uint32Array.from(keys, (key) => {
    const name = names.get(key) ?? names.size
    names.set(key, name)
    return name
  })
}

function firstAbove(ascending: Float64Array, value: number): number {
  let low = 0
  let high = ascending.length - 1
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((ascending[middle] ?? 0) > value) high = middle
    else low = middle + 1
  }
  return low
}

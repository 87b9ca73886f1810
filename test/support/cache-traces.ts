import { readFileSync } from 'node:fs'
import { seededRandom } from '../../src/core/random.ts'

/** Accesses in order; keys are numbers from 0 without gaps, each named by when it first came. */
export type Trace = Uint32Array

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

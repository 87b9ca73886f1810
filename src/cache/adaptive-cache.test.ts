import { describe, expect, test } from 'vitest'
import { adaptiveHits } from '../../test/support/adaptive-hits.ts'
import { conversationTrace, numbered, type Trace, zipfTrace } from '../../test/support/cache-traces.ts'
import {
  type CountHits,
  countLruHits,
  countMinHits,
  countS3FifoHits,
  countSieveHits,
  countTinyLfuHits,
  keysOf,
} from '../../test/support/eviction-rivals.ts'
import { seededRandom } from '../core/random.ts'
import { AdaptiveCache, ENTRY_OVERHEAD_BYTES, ENTRY_SHARE_MAX } from './adaptive-cache.ts'

const countAdaptiveHits = adaptiveHits('key')
const RIVALS = [countLruHits, countSieveHits, countS3FifoHits, countTinyLfuHits]

describe('the bound', () => {
  test.each(Array.from({ length: 12 }, (_, seed) => seed + 1))(
    'is never exceeded, and every byte and entry is accounted for (seed %i)',
    (seed) => {
      const random = seededRandom(seed)
      const below = (end: number) => Math.floor(random.uniform() * end)
      const bytesMax = 20_000 + below(200_000)
      const model = new Map<string, { readonly value: number; readonly sizeBytes: number }>()
      const cache = new AdaptiveCache<number>({
        bytesMax,
        onEvict: (key, value) => {
          // Once per entry, and with its last value: it is gone from the model then.
          same(model.get(key)?.value, value)
          model.delete(key)
        },
      })
      for (let step = 1; step <= 3_000; step++) {
        const key = `key ${below(random.uniform() < 0.5 ? 50 : 2_000)}`
        const action = random.uniform()
        if (action < 0.5) {
          same(cache.get(key), model.get(key)?.value)
        } else if (action < 0.93) {
          const sizeBytes = below(random.uniform() < 0.02 ? 20_000 : 1_000)
          const fits = sizeBytes + ENTRY_OVERHEAD_BYTES <= bytesMax * ENTRY_SHARE_MAX
          if (fits) model.set(key, { value: step, sizeBytes })
          else model.delete(key)
          same(cache.set(key, step, sizeBytes), model.has(key))
        } else if (action < 0.999) {
          same(cache.delete(key), model.delete(key))
        } else {
          cache.clear()
          model.clear()
        }
        same(cache.has(key), model.has(key))
        same(cache.bytes <= bytesMax, true)
        if (step % 50 > 0) continue
        let bytes = 0
        for (const { sizeBytes } of model.values()) bytes += sizeBytes + ENTRY_OVERHEAD_BYTES
        expect([cache.size, cache.bytes]).toEqual([model.size, bytes])
      }
      for (const [key, { value }] of model) expect(cache.get(key)).toBe(value)
    },
  )

  test('one value that is too large is refused, and what it should have replaced is gone', () => {
    const cache = new AdaptiveCache<string>({ bytesMax: 160_000 })
    expect(cache.set('a', 'small', 100)).toBe(true)
    expect(cache.set('b', 'as large as may be', 10_000 - ENTRY_OVERHEAD_BYTES)).toBe(true)
    expect(cache.set('a', 'too large', 10_001 - ENTRY_OVERHEAD_BYTES)).toBe(false)
    expect([cache.get('a'), cache.has('b'), cache.bytes]).toEqual([undefined, true, 10_000])
  })

  test('a size that is none is a mistake of the caller, and changes nothing', () => {
    const cache = new AdaptiveCache<string>({ bytesMax: 160_000 })
    cache.set('a', 'before', 1)
    for (const size of [-1, Number.NaN]) expect(() => cache.set('a', 'x', size)).toThrow(/size/)
    expect([cache.get('a'), cache.bytes]).toEqual(['before', 1 + ENTRY_OVERHEAD_BYTES])
  })

  test('a cache of nothing keeps nothing', () => {
    const cache = new AdaptiveCache<string>({ bytesMax: 0 })
    expect([cache.set('a', 'x', 0), cache.size, cache.bytes]).toEqual([false, 0, 0])
  })
})

describe('the hit ratio', () => {
  const zipf = (exponent: number) => zipfTrace(exponent, { keys: 30_000, accesses: 120_000, seed: 1 })
  const kinds = {
    conversations: conversationTrace({ requests: 6_000, open: 300, seed: 1 }),
    'popularity 0.7': zipf(0.7),
    'popularity 0.9': zipf(0.9),
    'popularity 1.1': zipf(1.1),
  }
  const cells = Object.entries(kinds).flatMap(([kind, trace]) =>
    [1, 5, 10, 20].map((percent) => ({ kind, trace, percent })),
  )

  test.each(cells)(
    'is within a point of the best policy: $kind, room for $percent %',
    ({ trace, percent }) => {
      const capacity = Math.round((keysOf(trace) * percent) / 100)
      const best = Math.max(...RIVALS.map((count) => count(trace, capacity)))
      const ours = countAdaptiveHits(trace, capacity)
      expect(ours / trace.length).toBeGreaterThan(best / trace.length - 0.01)
      expect(countMinHits(trace, capacity)).toBeGreaterThanOrEqual(Math.max(best, ours))
    },
  )

  test('follows the traffic when it changes its kind, there and back', () => {
    const phases = [zipf(0.9), conversationTrace({ requests: 6_000, open: 300, seed: 2 }), zipf(0.9)]
    const trace = numbered(phases.flatMap((phase, at) => Array.from(phase, (key) => 3 * key + (at % 2))))
    const capacity = 2_500
    let start = 0
    for (const phase of phases) {
      const end = start + phase.length
      // The first half is for finding out.
      const middle = start + Math.floor(phase.length / 2)
      const ratio = (count: CountHits) => hitsBetween(count, { trace, capacity, from: middle, to: end })
      expect(ratio(countAdaptiveHits)).toBeGreaterThan(Math.max(...RIVALS.map(ratio)) - 0.01)
      start = end
    }
  }, 30_000)

  test('of what is asked for often survives a scan of keys that come once', () => {
    const cache = new AdaptiveCache<true>({ bytesMax: 1_024_000 })
    const sizeBytes = 1_024 - ENTRY_OVERHEAD_BYTES
    const use = (key: string) => cache.get(key) ?? cache.set(key, true, sizeBytes)
    const popular = Array.from({ length: 500 }, (_, each) => `popular ${each}`)
    for (let time = 0; time < 5; time++) for (const key of popular) use(key)
    for (let once = 0; once < 20_000; once++) {
      use(`once ${once}`)
      if (once % 40 === 0) use(popular[(once / 40) % popular.length] ?? '')
    }
    expect(popular.filter((key) => cache.has(key)).length).toBeGreaterThan(475)
  })
})

/** As `expect`, which is too slow for so many. */
function same(actual: unknown, expected: unknown): void {
  if (actual !== expected) expect(actual).toBe(expected)
}

/** The ratio of a part of a trace, after all that came before it. */
function hitsBetween(
  count: CountHits,
  { trace, capacity, from, to }: { trace: Trace; capacity: number; from: number; to: number },
): number {
  return (count(trace.slice(0, to), capacity) - count(trace.slice(0, from), capacity)) / (to - from)
}

import { describe, expect, test } from 'vitest'
import { zipfTrace } from '../../test/support/cache-traces.ts'
import { FrequencySketch } from './frequency-sketch.ts'
import { keyHash } from './key-hash.ts'

const HASHES = Array.from({ length: 5_000 }, (_, key) => keyHash(`key ${key}`))

function hashOf(key: number): number {
  return HASHES[key] ?? 0
}

describe('how often a key was asked for', () => {
  test.each([1, 2, 3])('is never said too low, and seldom too high (seed %i)', (seed) => {
    const sketch = new FrequencySketch()
    sketch.reserve(1_000)
    const exact = new Uint32Array(HASHES.length)
    // Short of ten accesses per entry, where it ages.
    for (const key of zipfTrace(0.9, { keys: HASHES.length, accesses: 9_999, seed })) {
      sketch.add(hashOf(key))
      exact[key] = Math.min(15, (exact[key] ?? 0) + 1)
    }
    const excess = Array.from(exact, (count, key) => sketch.estimate(hashOf(key)) - count)
    expect(Math.min(...excess)).toBe(0)
    expect(excess.filter((more) => more > 0).length / excess.length).toBeLessThan(0.1)
  })

  test('survives that the sketch grows', () => {
    const sketch = new FrequencySketch()
    for (let times = 0; times < 7; times++) sketch.add(hashOf(1))
    for (let entries = 1; entries <= 5_000; entries++) sketch.reserve(entries)
    expect(sketch.estimate(hashOf(1))).toBe(7)
    expect(sketch.estimate(hashOf(2))).toBe(0)
  })

  test('is halved again and again while others are asked for', () => {
    const sketch = new FrequencySketch()
    for (let times = 0; times < 15; times++) sketch.add(hashOf(1))
    const seen = new Set<number>()
    for (let access = 0; access < 50_000; access++) {
      sketch.add(hashOf(2))
      seen.add(sketch.estimate(hashOf(1)))
    }
    expect([...seen]).toEqual([15, 7, 3, 1, 0])
  })
})

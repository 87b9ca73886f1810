import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../core/random.ts'
import { ExactIndex } from './exact-index.ts'
import type { VectorIndex } from './vector-index.ts'

/** What every index holds to. */
const INDEXES: Readonly<Record<string, (limits: { entriesMax: number; bytesMax: number }) => VectorIndex>> = {
  exact: (limits) => new ExactIndex(limits),
}

const wide = { entriesMax: 100, bytesMax: 2 ** 20 }
const vector = (...numbers: number[]) => Float32Array.from(numbers)

describe.each(Object.entries(INDEXES))('the %s index', (_name, create) => {
  test('finds the most similar by its direction, and none below the threshold', () => {
    const index = create(wide)
    index.add('p', 'right', vector(1, 0))
    index.add('p', 'up', vector(0, 5))
    expect(index.nearest('p', vector(3, 1), 0.9)).toMatchObject({ key: 'right' })
    expect(index.nearest('p', vector(3, 1), 0.9)?.similarity).toBeCloseTo(3 / Math.sqrt(10), 5)
    expect(index.nearest('p', vector(3, 1), 0.95)).toBeUndefined()
    expect(index.nearest('p', vector(0, 0.1), 0.99)).toMatchObject({ key: 'up' })
  })

  test('never looks into another partition, however like it is', () => {
    const index = create(wide)
    const random = seededRandom(58)
    for (let at = 0; at < 200; at++) {
      const one = vector(...Array.from({ length: 8 }, () => random.uniform() - 0.5))
      index.add(`tenant-${at}`, `key-${at}`, one)
      expect(index.nearest(`tenant-${at}`, one, 0.99)).toMatchObject({ key: `key-${at}` })
      expect(index.nearest(`tenant-${at + 1}`, one, -1)).toBeUndefined()
    }
  })

  test('forgets what is removed, and keeps one vector for a key', () => {
    const index = create(wide)
    index.add('p', 'k', vector(1, 0))
    index.add('p', 'k', vector(0, 1))
    expect(index.nearest('p', vector(1, 0), 0.9)).toBeUndefined()
    index.remove('p', 'k')
    expect(index.nearest('p', vector(0, 1), 0.9)).toBeUndefined()
  })

  test('finds nothing by what has no direction, nor among vectors of another length', () => {
    const index = create(wide)
    for (const one of [vector(0, 0), vector(Number.NaN, 1), vector()]) {
      index.add('p', 'odd', one)
      expect(index.nearest('p', one, -1)).toBeUndefined()
    }
    index.add('p', 'k', vector(1, 0))
    expect(index.nearest('p', vector(1, 0, 0), -1)).toBeUndefined()
  })

  test('is bounded: the oldest of a partition and the least asked partition make room', () => {
    const index = create({ entriesMax: 2, bytesMax: 8 * 4 })
    for (const name of ['a', 'b', 'c']) index.add('p', name, vector(1, name.charCodeAt(0)))
    expect(index.nearest('p', vector(1, 97), 0.999_999)?.key).not.toBe('a')
    index.add('q', 'd', vector(1, 0))
    index.nearest('p', vector(1, 0), -1)
    index.add('r', 'e', vector(1, 0))
    expect(index.nearest('p', vector(1, 98), -1)).toBeDefined()
    index.add('r', 'f', vector(0, 1))
    expect(index.nearest('q', vector(1, 0), -1)).toBeUndefined()
    expect(index.nearest('r', vector(0, 1), 0.9)).toBeDefined()
  })
})

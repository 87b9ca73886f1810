import { expect, test } from 'vitest'
import { ALL, Invalidations } from './invalidations.ts'

test('an answer that was on its way during an invalidation of one of its names is old', () => {
  const invalidations = new Invalidations()
  const before = invalidations.epoch('a')
  invalidations.invalidate('a', ['tag:x'])
  expect(invalidations.isCurrent('a', ['model:m', 'tag:x'], before)).toBe(false)
  expect(invalidations.isCurrent('a', ['model:m'], before)).toBe(true)
  expect(invalidations.isCurrent('a', ['tag:x'], invalidations.epoch('a'))).toBe(true)
  expect(invalidations.isCurrent('b', ['tag:x'], before)).toBe(true)
})

test('everything is everything of one tenant', () => {
  const invalidations = new Invalidations()
  invalidations.invalidate('a', [ALL])
  expect(invalidations.isCurrent('a', [], 0)).toBe(false)
  expect(invalidations.isCurrent('b', [], 0)).toBe(true)
})

test('what is forgotten of many invalidations makes more answers old, never fewer', () => {
  const invalidations = new Invalidations()
  const old = invalidations.epoch('a')
  for (let at = 0; at < 5_000; at++) invalidations.invalidate('a', [`tag:${at}`])
  for (const at of [0, 1, 3_975, 4_999]) expect(invalidations.isCurrent('a', [`tag:${at}`], old)).toBe(false)
  const recent = invalidations.epoch('a')
  expect(invalidations.isCurrent('a', ['tag:0', 'tag:4999'], recent)).toBe(true)
})

test('an invalidation that is heard of late does not make the present older', () => {
  const invalidations = new Invalidations()
  invalidations.invalidate('a', ['tag:x'], 9)
  invalidations.invalidate('a', ['tag:x'], 4)
  expect(invalidations.epoch('a')).toBe(9)
  expect(invalidations.isCurrent('a', ['tag:x'], 8)).toBe(false)
})

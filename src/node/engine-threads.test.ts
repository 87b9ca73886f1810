import { expect, test } from 'vitest'
import { threadsFor } from './engine-threads.ts'

test.each([
  ['the only model has all cores', { cores: 8, models: 1 }, 8],
  ['of two models each has half of them', { cores: 8, models: 2 }, 4],
  ['of very many, a quarter', { cores: 8, models: 50 }, 2],
  ['of two copies of the only model, the second has what is left', { cores: 8, models: 1, taken: 8 }, 1],
  ['there is always one', { cores: 2, models: 9, taken: 7 }, 1],
  ['on a card a few are enough', { cores: 64, models: 1, isOnCard: true }, 4],
  ['on a card of a small machine', { cores: 1, models: 1, isOnCard: true }, 1],
])('%s', (_name, claim, threads) => {
  expect(threadsFor({ taken: 0, isOnCard: false, ...claim })).toBe(threads)
})

test('while each engine is of another model, all together have no more threads than there are cores', () => {
  for (const cores of [2, 4, 6, 16, 96]) {
    for (const models of [1, 2, 3, 4]) {
      let taken = 0
      for (let engine = 0; engine < Math.min(models, cores); engine++) {
        taken += threadsFor({ cores, taken, models, isOnCard: false })
      }
      expect(taken).toBeLessThanOrEqual(cores)
    }
  }
})

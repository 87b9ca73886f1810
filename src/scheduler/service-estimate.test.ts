import { expect, test } from 'vitest'
import { tokenCost } from './fair-queue.ts'
import { ServiceEstimate } from './service-estimate.ts'

const tokens = { promptTokens: 100, completionTokens: 50, cachedTokens: 0 }
const asked = { promptTokens: 100, outputTokensMax: undefined, choices: 1 }

test('what was answered tells what is to be expected, soon and also after many others', () => {
  const estimate = new ServiceEstimate()
  const expected = tokenCost(tokens)
  for (let count = 0; count < 100; count++) estimate.learn(tokens, { choices: 1 }, 400)
  expect(estimate.of(asked).cost).toBeCloseTo(expected, -1)
  expect(estimate.of(asked).serviceMs).toBeGreaterThan(350)
  expect(estimate.of(asked).serviceMs).toBeLessThan(450)
  for (let count = 0; count < 60; count++)
    estimate.learn({ ...tokens, completionTokens: 500 }, { choices: 1 }, 2_200)
  expect(estimate.of(asked).cost).toBeGreaterThan(1_000)
})

test('an answer is not expected to be longer than it may be, and two are expected to be twice as long', () => {
  const estimate = new ServiceEstimate()
  expect(estimate.of({ ...asked, outputTokensMax: 10 }).cost).toBe(120)
  expect(estimate.of({ ...asked, outputTokensMax: 0 }).cost).toBe(100)
  const one = estimate.of(asked).cost - 100
  expect(estimate.of({ ...asked, choices: 2 }).cost).toBe(100 + 2 * one)
})

test('what took nothing teaches nothing', () => {
  const estimate = new ServiceEstimate()
  const before = estimate.of(asked)
  estimate.learn({ promptTokens: 0, completionTokens: 0, cachedTokens: 0 }, { choices: 1 }, 10_000)
  expect(estimate.of(asked)).toEqual(before)
})

import { expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { fitStepModel, type StepSample } from './calibrate.ts'
import { stepMs } from './step-model.ts'

const engine = { fixedMs: 8, perSequenceMs: 0.7, perPromptMs: 3, perPromptTokenMs: 0.09, stepTokensMax: 512 }

function samples(noise: number): StepSample[] {
  const random = seededRandom(5)
  return Array.from({ length: 400 }, () => {
    const sequences = Math.floor(random.uniform() * 16)
    const promptTokens = random.uniform() < 0.5 ? 0 : Math.floor(random.uniform() * 512)
    const prompts = promptTokens > 0 ? 1 : 0
    const ms = stepMs(engine, { sequences, prompts, promptTokens }) * (1 + noise * (random.uniform() - 0.5))
    return { sequences, prompts, promptTokens, ms }
  })
}

test('samples without noise give back the engine that they were made of', () => {
  const fitted = fitStepModel(samples(0), 512)
  expect(fitted.fixedMs).toBeCloseTo(8, 6)
  expect(fitted.perSequenceMs).toBeCloseTo(0.7, 6)
  expect(fitted.perPromptMs).toBeCloseTo(3, 6)
  expect(fitted.perPromptTokenMs).toBeCloseTo(0.09, 6)
})

test('with noise of a fifth each cost is within five per cent', () => {
  const fitted = fitStepModel(samples(0.2), 512)
  expect(Math.abs(fitted.fixedMs / 8 - 1)).toBeLessThan(0.05)
  expect(Math.abs(fitted.perSequenceMs / 0.7 - 1)).toBeLessThan(0.05)
  expect(Math.abs(fitted.perPromptTokenMs / 0.09 - 1)).toBeLessThan(0.05)
})

test('no cost is below zero, and a step always takes time, whatever was measured', () => {
  const shrinking = [1, 2, 4, 8].map((sequences) => ({
    sequences,
    prompts: 0,
    promptTokens: 0,
    ms: 10 / sequences,
  }))
  const fitted = fitStepModel(shrinking, 512)
  expect(fitted.perSequenceMs).toBe(0)
  expect(fitted.perPromptTokenMs).toBe(0)
  expect(fitted.fixedMs).toBeGreaterThan(0)
})

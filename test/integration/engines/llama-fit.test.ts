import { truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { writeTinyModel } from '../../../src/engines/gguf/tiny-model.ts'
import { estimateMemory } from '../../../src/engines/llama-fit.ts'
import { testDirectory, testEngine } from '../../support/engine.ts'

beforeAll(testEngine)

test('the estimate grows with slots and context, and the header alone promises no less', async () => {
  const engine = await testEngine()
  const modelPath = join(await testDirectory(), 'tiny.gguf')
  await writeTinyModel(modelPath, { seed: 1, layers: 16, embeddingLength: 512, headCountKv: 4 })
  const shape = { engine, modelPath, slots: 2, contextLength: 4096 }
  const small = await estimateMemory(shape)
  const large = await estimateMemory({ ...shape, slots: 8 })
  expect(small.modelBytes).toBeGreaterThan(0)
  // 2 (keys and values) x 2 bytes x 16 layers x 512 numbers x 2 slots x 4096 tokens.
  expect(small.contextBytes).toBe(2 * 2 * 16 * 512 * 2 * 4096)
  expect(large.contextBytes).toBe(4 * small.contextBytes)
  const guess = await estimateMemory({ ...shape, engine: { ...engine, fitParamsPath: undefined } })
  for (const part of ['modelBytes', 'contextBytes', 'computeBytes'] as const) {
    expect(guess[part] + 2 ** 20).toBeGreaterThan(small[part])
  }
})

test('a broken model is refused, with the reason', async () => {
  const modelPath = join(await testDirectory(), 'cut.gguf')
  await writeTinyModel(modelPath, { seed: 1 })
  await truncate(modelPath, 100_000)
  const estimate = estimateMemory({ engine: await testEngine(), modelPath, slots: 1, contextLength: 512 })
  await expect(estimate).rejects.toMatchObject({ code: 'model_invalid' })
})

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { readGgufHeader } from './read-header.ts'
import { TINY_CHAT_TEMPLATE } from './tiny-chat-template.ts'
import { type TinyModelOptions, writeTinyModel } from './tiny-model.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gguf-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function write(options: TinyModelOptions): Promise<string> {
  const path = join(folder, 'model.gguf')
  await writeTinyModel(path, options)
  return path
}

it('the tiny model is small and reads back as what was asked for', async () => {
  const header = await readGgufHeader(await write({ seed: 1 }))
  expect(header).toMatchObject({
    architecture: 'llama',
    name: 'tiny',
    contextLength: 4096,
    embeddingLength: 64,
    blockCount: 2,
    headCount: 4,
    headCountKv: 2,
    vocabSize: 1000,
    quantization: 'F16',
    chatTemplate: TINY_CHAT_TEMPLATE,
    kind: 'generation',
  })
  expect(header.fileBytes).toBeLessThan(500_000)
})

it('other shapes and types read back too', async () => {
  const shape = { contextLength: 512, layers: 3, embeddingLength: 128, feedForwardLength: 64, headCount: 8 }
  const path = await write({
    seed: 1,
    ...shape,
    headCountKv: 8,
    vocabSize: 20_000,
    type: 'Q8_0',
    name: 'other',
  })
  expect(await readGgufHeader(path)).toMatchObject({
    name: 'other',
    contextLength: 512,
    blockCount: 3,
    embeddingLength: 128,
    headCount: 8,
    headCountKv: 8,
    vocabSize: 20_000,
    quantization: 'Q8_0',
    parameterCount: 2 * 20_000 * 128 + 3 * (4 * 128 * 128 + 3 * 128 * 64 + 2 * 128) + 128,
  })
})

it.each(['F16', 'Q8_0'] as const)(
  'the same seed gives the same bytes, another seed others (%s)',
  async (type) => {
    const once = await readFile(await write({ seed: 7, type }))
    const again = await readFile(await write({ seed: 7, type }))
    const other = await readFile(await write({ seed: 8, type }))
    expect(once.equals(again)).toBe(true)
    expect(once.equals(other)).toBe(false)
    expect(once.length).toBe(other.length)
  },
)

it('shapes that no engine loads are not written', async () => {
  await expect(write({ seed: 1, headCount: 3, headCountKv: 3 })).rejects.toMatchObject({
    code: 'invalid_arguments',
  })
  await expect(write({ seed: 1, headCountKv: 3 })).rejects.toMatchObject({ code: 'invalid_arguments' })
  await expect(write({ seed: 1, vocabSize: 260 })).rejects.toMatchObject({ code: 'invalid_arguments' })
  await expect(write({ seed: 1, embeddingLength: 48, type: 'Q8_0' })).rejects.toMatchObject({
    code: 'invalid_value',
  })
})

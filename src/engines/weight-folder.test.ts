import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readWeightFolder } from './weight-folder.ts'

const llama = {
  ...{ architectures: ['LlamaForCausalLM'], torch_dtype: 'bfloat16', vocab_size: 128_256 },
  ...{ num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8, hidden_size: 4096 },
  max_position_embeddings: 131_072,
}

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hf-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function lay(config: object, weights: Record<string, number> = { 'model.safetensors': 10 }) {
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  for (const [name, sizeBytes] of Object.entries(weights)) {
    writeFileSync(join(folder, name), Buffer.alloc(sizeBytes))
  }
  return readWeightFolder(folder)
}

describe('a folder of a model', () => {
  test('tells what memory is reckoned from', async () => {
    const { facts, sizeBytes, files } = await lay(llama, {
      'model-00001-of-00002.safetensors': 10,
      'model-00002-of-00002.safetensors': 5,
      'tokenizer.json': 100,
    })
    expect(sizeBytes).toBe(15)
    expect(files).toHaveLength(2)
    expect(facts).toEqual({
      ...{ architecture: 'LlamaForCausalLM', quantization: 'bfloat16', contextLength: 131_072 },
      ...{ vocabularySize: 128_256, layers: 32, keyValueHeads: 8, headLength: 128 },
    })
  })

  test('is read where a model that sees keeps its language part', async () => {
    const { architectures, ...text } = llama
    const { facts } = await lay({ architectures, text_config: { ...text, head_dim: 96 } })
    expect(facts).toMatchObject({ architecture: 'LlamaForCausalLM', layers: 32, headLength: 96 })
  })

  test('has all heads for keys where nothing else is said, and the name of its quantization', async () => {
    const { num_key_value_heads: _, ...old } = llama
    const { facts } = await lay({ ...old, quantization_config: { quant_method: 'awq' } })
    expect(facts).toMatchObject({ keyValueHeads: 32, quantization: 'awq' })
  })

  test('has another revision when its weights are replaced by others of the same size', async () => {
    const before = await lay(llama)
    expect((await readWeightFolder(folder)).revision).toBe(before.revision)
    utimesSync(join(folder, 'model.safetensors'), 1, 1)
    expect((await readWeightFolder(folder)).revision).not.toBe(before.revision)
  })

  test.each([
    ['without weights', llama, {}, /no \.safetensors/],
    ['with another kind of config.json', { a: 1 }, { 'model.safetensors': 1 }, /config\.json is none/],
  ])('%s is none', async (_name, config, weights, message) => {
    await expect(lay(config, weights)).rejects.toMatchObject({
      code: 'model_invalid',
      publicMessage: expect.stringMatching(message),
    })
  })

  test('without config.json is none', async () => {
    await expect(readWeightFolder(folder)).rejects.toMatchObject({ code: 'model_invalid' })
  })
})

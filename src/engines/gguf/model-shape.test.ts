import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type GgufHeader, readGgufHeader } from './read-header.ts'
import { type MetadataEntry, type TensorSource, writeGguf } from './write.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gguf-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** The least that is a model: 8 tokens, two layers, an embedding matrix and one vector. */
const METADATA: Record<string, MetadataEntry> = {
  'general.architecture': text('llama'),
  'general.name': text('least'),
  'llama.context_length': uint32(512),
  'llama.embedding_length': uint32(32),
  'llama.block_count': uint32(2),
  'llama.attention.head_count': uint32(4),
  'llama.attention.head_count_kv': uint32(2),
  'tokenizer.ggml.model': text('gpt2'),
  'tokenizer.ggml.tokens': texts('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'),
  'tokenizer.ggml.add_bos_token': { type: 'bool', value: false },
  'tokenizer.ggml.eos_token_id': uint32(7),
  'tokenizer.chat_template': text('{{ messages }}'),
}
const TENSORS = [tensor('token_embd.weight', 'F16', [32, 8]), tensor('output_norm.weight', 'F32', [32])]

type Changes = Record<string, MetadataEntry | undefined>

async function write(changes: Changes = {}, tensors: readonly TensorSource[] = TENSORS, name = 'm.gguf') {
  const path = join(folder, name)
  const metadata: Record<string, MetadataEntry> = {}
  for (const [key, entry] of Object.entries({ ...METADATA, ...changes })) if (entry) metadata[key] = entry
  await writeGguf(path, { metadata, tensors })
  return path
}

describe('a sound model', () => {
  it('is described by its header', async () => {
    const path = await write()
    expect(await readGgufHeader(path)).toEqual({
      version: 3,
      architecture: 'llama',
      name: 'least',
      fileBytes: (await readFile(path)).length,
      tensorBytes: 32 * 8 * 2 + 32 * 4,
      parameterCount: 32 * 8 + 32,
      contextLength: 512,
      embeddingLength: 32,
      blockCount: 2,
      headCount: 4,
      headCountKv: 2,
      vocabSize: 8,
      quantization: 'F16',
      chatTemplate: '{{ messages }}',
      kind: 'generation',
      split: undefined,
    } satisfies GgufHeader)
  })

  it.each<[string, Changes, Partial<GgufHeader>]>([
    [
      'head counts per layer count for the layer that has most',
      { 'llama.attention.head_count': counts(4, 8), 'llama.attention.head_count_kv': counts(0, 4) },
      { headCount: 8, headCountKv: 4 },
    ],
    [
      'key/value heads are as many as heads where the file does not say',
      { 'llama.attention.head_count_kv': undefined },
      { headCountKv: 4 },
    ],
    [
      'heads need not divide the embedding where their length is given',
      {
        'llama.attention.head_count': uint32(5),
        'llama.attention.head_count_kv': uint32(5),
        'llama.attention.key_length': uint32(16),
      },
      { headCount: 5 },
    ],
    [
      'numbers may be stored wider than usual',
      { 'llama.context_length': { type: 'uint64', value: 1024 } },
      { contextLength: 1024 },
    ],
    [
      'a model with a way of pooling gives embeddings',
      { 'llama.pooling_type': uint32(3) },
      { kind: 'embedding' },
    ],
    ['"no pooling" is no way of pooling', { 'llama.pooling_type': uint32(0) }, { kind: 'generation' }],
    [
      '-1 and ids of tokens that do not steer generation are let through, as in published models',
      {
        'tokenizer.ggml.eos_token_id': uint32(2 ** 32 - 1),
        'tokenizer.ggml.padding_token_id': uint32(8),
      },
      { vocabSize: 8 },
    ],
    ['experts may be grouped', experts(8, 4, 2), { architecture: 'llama' }],
    ['an alignment of its own is honoured', { 'general.alignment': uint32(32) }, { parameterCount: 288 }],
  ])('%s', async (_, changes, expected) => {
    expect(await readGgufHeader(await write(changes))).toMatchObject(expected)
  })

  it('of an encoder architecture gives embeddings', async () => {
    const changes = { 'general.architecture': text('bert'), ...renamed('llama', 'bert') }
    expect(await readGgufHeader(await write(changes))).toMatchObject({
      architecture: 'bert',
      kind: 'embedding',
    })
  })

  it('of a recurrent architecture needs no heads', async () => {
    const changes = { 'general.architecture': text('mamba'), ...renamed('llama', 'mamba') }
    const path = await write({
      ...changes,
      'mamba.attention.head_count': uint32(0),
      'mamba.attention.head_count_kv': undefined,
    })
    expect(await readGgufHeader(path)).toMatchObject({ headCount: 0, headCountKv: 0 })
  })
})

describe('a shape that would make an engine abort, hang or answer nonsense is refused', () => {
  const KV = 'llama.attention.head_count_kv'
  const EPSILON = 'llama.attention.layer_norm_rms_epsilon'
  it.each<[string, Changes, RegExp]>([
    ['no architecture', { 'general.architecture': undefined }, /lacks "general.architecture"/],
    ['a path as architecture', { 'general.architecture': text('../etc') }, /no name of an architecture/],
    ['a LoRA adapter', { 'general.type': text('adapter') }, /of type "adapter"/],
    ['an image projector', { 'general.architecture': text('clip') }, /image part/],
    ['no context length', { 'llama.context_length': undefined }, /lacks "llama.context_length"/],
    ['context length 0', { 'llama.context_length': uint32(0) }, /context_length" is 0/],
    ['context length 2^28', { 'llama.context_length': uint32(2 ** 28) }, /context_length" is 268435456/],
    ['context length as text', { 'llama.context_length': text('8192') }, /whole number but is a string/],
    ['context length 0.5', { 'llama.context_length': float32(0.5) }, /whole number but .* 0.5/],
    ['context length -1', { 'llama.context_length': { type: 'int32', value: -1 } }, /the int32 -1/],
    ['context length 2^60', { 'llama.context_length': { type: 'uint64', value: 2 ** 60 } }, /whole number/],
    ['embedding length 0', { 'llama.embedding_length': uint32(0) }, /embedding_length" is 0/],
    ['no block count', { 'llama.block_count': undefined }, /lacks "llama.block_count"/],
    ['block count 0', { 'llama.block_count': uint32(0) }, /block_count" is 0/],
    ['block count 513', { 'llama.block_count': uint32(513) }, /block_count" is 513/],
    ['no head count', { 'llama.attention.head_count': undefined }, /lacks "llama.attention.head_count"/],
    ['head count 0', { 'llama.attention.head_count': uint32(0) }, /head_count" is 0/],
    [
      '3 heads for an embedding of 32',
      { 'llama.attention.head_count': uint32(3), [KV]: uint32(3) },
      /3 heads.* 32/,
    ],
    ['key/value head count 0', { [KV]: uint32(0) }, /head_count_kv" is 0/],
    ['3 key/value heads for 4 heads', { [KV]: uint32(3) }, /4 heads.* 3 key\/value/],
    ['head counts for 3 of 2 layers', { [KV]: counts(2, 2, 2) }, /3 entries for 2 layers/],
    ['no heads in any layer', { [KV]: counts(0, 0) }, /head_count_kv" is 0/],
    ['head counts as text', { [KV]: texts('2', '2') }, /whole numbers but is an array of 2 string/],
    ['key length 0', { 'llama.attention.key_length': uint32(0) }, /key_length" is 0/],
    ['more experts used than there are', { 'llama.expert_used_count': uint32(2) }, /uses 2 experts .* has 0/],
    ['experts of which none is used', { 'llama.expert_count': uint32(8) }, /uses none/],
    [
      '5000 experts',
      { 'llama.expert_count': uint32(5000), 'llama.expert_used_count': uint32(1) },
      /5000 experts/,
    ],
    ['groups of no experts', { 'llama.expert_group_count': uint32(1) }, /0 experts, .* among 1 groups/],
    ['8 experts in 3 groups', experts(8, 3, 1), /8 experts, .* among 3 groups/],
    ['8 experts in 8 groups', experts(8, 8, 1), /8 experts, .* among 8 groups/],
    ['all of 4 groups used', experts(8, 4, 4), /uses 4 groups .* has 4/],
    ['rope scaling by NaN', { 'llama.rope.scaling.factor': float32(Number.NaN) }, /factor" is NaN/],
    ['no tokenizer', { 'tokenizer.ggml.model': undefined }, /no tokenizer/],
    ['a tokenizer called none', { 'tokenizer.ggml.model': text('none') }, /no tokenizer/],
    ['no tokens', { 'tokenizer.ggml.tokens': undefined }, /no tokenizer/],
    ['a norm that adds NaN', { [EPSILON]: float32(Number.NaN) }, /epsilon" is NaN/],
    ['a norm that adds -1', { [EPSILON]: float32(-1) }, /epsilon" is -1/],
    ['two tokens that are equal up to a zero byte', { 'tokenizer.ggml.tokens': texts('a', 'a\0b') }, /"a"/],
    ['unknown rope scaling', { 'llama.rope.scaling.type': text('magic') }, /"magic"/],
    ['3 prediction layers of 2', { 'llama.nextn_predict_layers': uint32(3) }, /3 prediction layers/],
    ['end token 8 of 8', { 'tokenizer.ggml.eos_token_id': uint32(8) }, /eos_token_id" is 8.* only 8/],
    ['start token 4294967294', { 'tokenizer.ggml.bos_token_id': uint32(2 ** 32 - 2) }, /bos_token_id/],
    ['a token twice', { 'tokenizer.ggml.tokens': texts('a', 'b', 'a') }, /token 2 .* twice: "a"/],
    ['fewer tokens than embeddings', { 'tokenizer.ggml.tokens': texts(...'abcdefg') }, /7 tokens.* 8 rows/],
    ['tokens that are numbers', { 'tokenizer.ggml.tokens': counts(1, 2) }, /array of string/],
    [
      '7 scores for 8 tokens',
      { 'tokenizer.ggml.scores': floats(0, 0, 0, 0, 0, 0, 0) },
      /7 scores for 8 tokens/,
    ],
  ])('%s', async (_, changes, says) => refused(await write(changes), says), 1000)
})

async function refused(path: string, says: RegExp): Promise<void> {
  await expect(readGgufHeader(path)).rejects.toMatchObject({
    name: 'HelixError',
    code: 'model_invalid',
    publicMessage: expect.stringMatching(says),
  })
}

function renamed(from: string, to: string): Changes {
  const changes: Changes = {}
  for (const [key, entry] of Object.entries(METADATA)) {
    if (!key.startsWith(`${from}.`)) continue
    changes[key] = undefined
    changes[key.replace(from, to)] = entry
  }
  return changes
}

function experts(count: number, groups: number, groupsUsed: number): Changes {
  return {
    'llama.expert_count': uint32(count),
    'llama.expert_used_count': uint32(2),
    'llama.expert_group_count': uint32(groups),
    'llama.expert_group_used_count': uint32(groupsUsed),
  }
}

function tensor(name: string, type: 'F16' | 'F32', dimensions: readonly number[]): TensorSource {
  const elements = dimensions.reduce((product, dimension) => product * dimension, 1)
  return { name, type, dimensions, chunks: () => [Buffer.alloc(elements * (type === 'F16' ? 2 : 4))] }
}

function uint32(value: number): MetadataEntry {
  return { type: 'uint32', value }
}

function float32(value: number): MetadataEntry {
  return { type: 'float32', value }
}

function text(value: string): MetadataEntry {
  return { type: 'string', value }
}

function texts(...values: string[]): MetadataEntry {
  return { type: 'array', of: 'string', values }
}

function counts(...values: number[]): MetadataEntry {
  return { type: 'array', of: 'uint32', values }
}

function floats(...values: number[]): MetadataEntry {
  return { type: 'array', of: 'float32', values }
}

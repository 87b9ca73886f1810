import type { Metadata } from './metadata.ts'
import { TOKENS_KEY } from './read-metadata.ts'
import type { TensorInfo } from './read-tensors.ts'
import { quoted, type Refuse } from './refusal.ts'

/** What the metadata says about the network itself. */
export interface ModelShape {
  readonly architecture: string
  readonly name: string | undefined
  /** Tokens that it was trained for. */
  readonly contextLength: number
  readonly embeddingLength: number
  readonly blockCount: number
  /** Of the layer that has most, where layers differ; 0 for architectures without attention. */
  readonly headCount: number
  /** Of the layer that has most, where layers differ; 0 for architectures without attention. */
  readonly headCountKv: number
  readonly vocabSize: number
  readonly chatTemplate: string | undefined
  readonly kind: 'generation' | 'embedding'
}

/** Limits that llama.cpp compiles in, and beyond which it aborts its process instead of answering. */
const BLOCKS_MAX = 512
const EXPERTS_MAX = 1024
const ROPE_SCALING_TYPES: readonly string[] = ['none', 'linear', 'yarn', 'longrope']

const CONTEXT_LENGTH_MAX = 2 ** 27
const EMBEDDING_LENGTH_MAX = 2 ** 20
const HEADS_MAX = 2 ** 16

/** Architectures that read state instead of attending, and write a head count of 0. */
const RECURRENT: ReadonlySet<string> = new Set(['mamba', 'mamba2', 'rwkv6', 'rwkv6qwen2', 'rwkv7', 'arwkv7'])

/** Architectures that turn text into vectors and cannot generate. */
const ENCODERS: ReadonlySet<string> = new Set([
  'bert',
  'modern-bert',
  'nomic-bert',
  'nomic-bert-moe',
  'neo-bert',
  'jina-bert-v2',
  'jina-bert-v3',
  'eurobert',
  'gemma-embedding',
  'llama-embed',
  't5encoder',
])

/**
 * The token ids that decide where a generation starts and stops. Ids for padding, images and the like are left
 * alone: published models have them out of range, and engines then ignore them (ggml-org/llama.cpp #11212).
 */
const STEERING_TOKENS = ['bos', 'eos', 'eot', 'eom'] as const

/** What files call a tokenizer that is not there; engines load them and abort at the first text. */
const NO_TOKENIZER: readonly string[] = ['none', 'no_vocab']

/** How converters write "this model has no such token": -1, as an unsigned number. */
const NO_TOKEN = 2 ** 32 - 1

/** @throws HelixError `model_invalid` where a number would make an engine abort, hang or answer nonsense */
export function readModelShape(
  metadata: Metadata,
  tensors: readonly TensorInfo[],
  refuse: Refuse,
): ModelShape {
  const architecture = readArchitecture(metadata, refuse)
  const required = (key: string, max: number): number => {
    const value = metadata.count(`${architecture}.${key}`)
    if (value === undefined) throw refuse(`it lacks ${quoted(`${architecture}.${key}`)}`)
    if (value < 1 || value > max) {
      throw refuse(`${quoted(`${architecture}.${key}`)} is ${value}, which is not within 1 to ${max}`)
    }
    return value
  }
  const contextLength = required('context_length', CONTEXT_LENGTH_MAX)
  const embeddingLength = required('embedding_length', EMBEDDING_LENGTH_MAX)
  const blockCount = required('block_count', BLOCKS_MAX)
  const heads = readHeads({ metadata, architecture, blockCount, embeddingLength, refuse })
  checkExperts(metadata, architecture, blockCount, refuse)
  checkRopeScaling(metadata, architecture, refuse)
  checkEpsilons(metadata, architecture, refuse)
  const vocabSize = readVocabSize(metadata, tensors, refuse)
  checkSteeringTokens(metadata, vocabSize, refuse)
  return {
    architecture,
    name: metadata.text('general.name'),
    contextLength,
    embeddingLength,
    blockCount,
    ...heads,
    vocabSize,
    chatTemplate: metadata.text('tokenizer.chat_template'),
    kind: kindOf(metadata, architecture),
  }
}

function readArchitecture(metadata: Metadata, refuse: Refuse): string {
  const architecture = metadata.text('general.architecture')
  if (architecture === undefined) throw refuse('it lacks "general.architecture"')
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(architecture)) {
    throw refuse(`"general.architecture" is ${quoted(architecture)}, which is no name of an architecture`)
  }
  const type = metadata.text('general.type') ?? 'model'
  if (type !== 'model' || architecture === 'clip') {
    const part = architecture === 'clip' ? 'the image part of a model' : `of type ${quoted(type)}`
    throw refuse(`it is ${part} and cannot generate by itself`)
  }
  return architecture
}

interface HeadSource {
  readonly metadata: Metadata
  readonly architecture: string
  readonly blockCount: number
  readonly embeddingLength: number
  readonly refuse: Refuse
}

/** Single layers may have no heads at all: hybrids mix attention with other layers. */
function readHeads(source: HeadSource): Pick<ModelShape, 'headCount' | 'headCountKv'> {
  const { metadata, architecture, blockCount, embeddingLength, refuse } = source
  const headsKey = `${architecture}.attention.head_count`
  const heads = metadata.perLayer(headsKey, blockCount) ?? []
  const kvHeads = metadata.perLayer(`${headsKey}_kv`, blockCount) ?? heads
  const headCount = Math.max(0, ...heads)
  const headCountKv = Math.max(0, ...kvHeads)
  if (RECURRENT.has(architecture)) return { headCount, headCountKv }

  if (heads.length === 0) throw refuse(`it lacks ${quoted(headsKey)}`)
  for (const [key, count] of [[headsKey, headCount] as const, [`${headsKey}_kv`, headCountKv] as const]) {
    if (count < 1 || count > HEADS_MAX) {
      throw refuse(`${quoted(key)} is ${count}, which is not within 1 to ${HEADS_MAX}`)
    }
  }
  const hasKeyLength = checkHeadLength(metadata, architecture, refuse)
  for (const [layer, count] of heads.entries()) {
    const kvCount = kvHeads[layer] ?? 0
    if (count > 0 && kvCount > 0 && count % kvCount !== 0) {
      throw refuse(`layer ${layer} has ${count} heads, which do not divide among ${kvCount} key/value heads`)
    }
    if (count > 0 && !hasKeyLength && embeddingLength % count !== 0) {
      throw refuse(
        `layer ${layer} has ${count} heads, which do not divide an embedding of ${embeddingLength}`,
      )
    }
  }
  return { headCount, headCountKv }
}

/** Whether the file gives the length of a head, which else is the embedding divided by the heads. */
function checkHeadLength(metadata: Metadata, architecture: string, refuse: Refuse): boolean {
  for (const key of [`${architecture}.attention.key_length`, `${architecture}.attention.value_length`]) {
    const length = metadata.count(key)
    if (length !== undefined && (length < 1 || length > EMBEDDING_LENGTH_MAX)) {
      throw refuse(`${quoted(key)} is ${length}, which is not within 1 to ${EMBEDDING_LENGTH_MAX}`)
    }
  }
  return metadata.has(`${architecture}.attention.key_length`)
}

function checkExperts(metadata: Metadata, architecture: string, blockCount: number, refuse: Refuse): void {
  const experts = metadata.count(`${architecture}.expert_count`) ?? 0
  const used = Math.max(0, ...(metadata.perLayer(`${architecture}.expert_used_count`, blockCount) ?? []))
  if (experts > EXPERTS_MAX) throw refuse(`it has ${experts} experts; ${EXPERTS_MAX} is the most`)
  if (used > experts) throw refuse(`it uses ${used} experts per token but has ${experts}`)
  if (experts > 0 && used === 0) throw refuse(`it has ${experts} experts but uses none`)

  const groups = metadata.count(`${architecture}.expert_group_count`) ?? 0
  const groupsUsed = metadata.count(`${architecture}.expert_group_used_count`) ?? 0
  const ungrouped = groups === 0 || (groups === 1 && experts > 1)
  if (!ungrouped && (groups >= experts || experts % groups !== 0)) {
    throw refuse(`it has ${experts} experts, which do not divide among ${groups} groups`)
  }
  if (!ungrouped && (groupsUsed < 1 || groupsUsed >= groups)) {
    throw refuse(`it uses ${groupsUsed} groups of experts per token but has ${groups}`)
  }
  const predictionLayers = metadata.count(`${architecture}.nextn_predict_layers`) ?? 0
  if (predictionLayers > blockCount) {
    throw refuse(`it has ${predictionLayers} prediction layers among ${blockCount} layers`)
  }
}

function checkRopeScaling(metadata: Metadata, architecture: string, refuse: Refuse): void {
  const type = metadata.text(`${architecture}.rope.scaling.type`)
  if (type !== undefined && !ROPE_SCALING_TYPES.includes(type)) {
    throw refuse(`"${architecture}.rope.scaling.type" is ${quoted(type)}, which no engine knows`)
  }
  const factor = metadata.number(`${architecture}.rope.scaling.factor`) ?? 1
  if (!(factor >= 0 && factor < Number.POSITIVE_INFINITY)) {
    throw refuse(`"${architecture}.rope.scaling.factor" is ${factor}`)
  }
}

/** What a norm adds before it divides. Engines assert that it is not negative, which a NaN fails as well. */
function checkEpsilons(metadata: Metadata, architecture: string, refuse: Refuse): void {
  for (const norm of ['layer_norm', 'layer_norm_rms', 'group_norm']) {
    const key = `${architecture}.attention.${norm}_epsilon`
    const epsilon = metadata.number(key) ?? 0
    if (!(epsilon >= 0 && epsilon < 1))
      throw refuse(`${quoted(key)} is ${epsilon}, which is not within 0 to 1`)
  }
}

function readVocabSize(metadata: Metadata, tensors: readonly TensorInfo[], refuse: Refuse): number {
  const tokenizer = metadata.text('tokenizer.ggml.model')
  const tokens = metadata.arrayLength(TOKENS_KEY, ['string']) ?? 0
  if (tokenizer === undefined || NO_TOKENIZER.includes(tokenizer) || tokens === 0) {
    throw refuse('it has no tokenizer, so it can read no text')
  }
  const scores = metadata.arrayLength('tokenizer.ggml.scores', ['float32', 'int32']) ?? tokens
  if (scores < tokens) throw refuse(`it has ${scores} scores for ${tokens} tokens`)
  const types = metadata.arrayLength('tokenizer.ggml.token_type', ['int32']) ?? tokens
  if (types < tokens) throw refuse(`it has ${types} token types for ${tokens} tokens`)
  const rows = tensors.find((tensor) => tensor.name === 'token_embd.weight')?.dimensions[1] ?? tokens
  if (rows !== tokens) {
    throw refuse(`its vocabulary has ${tokens} tokens, but tensor "token_embd.weight" has ${rows} rows`)
  }
  return tokens
}

function checkSteeringTokens(metadata: Metadata, vocabSize: number, refuse: Refuse): void {
  for (const token of STEERING_TOKENS) {
    const key = `tokenizer.ggml.${token}_token_id`
    const id = metadata.count(key) ?? NO_TOKEN
    if (id !== NO_TOKEN && id >= vocabSize) {
      throw refuse(`${quoted(key)} is ${id}, but the vocabulary has only ${vocabSize} tokens`)
    }
  }
}

/** A model with a way of pooling (0 means none) was trained to give one vector per text. */
function kindOf(metadata: Metadata, architecture: string): ModelShape['kind'] {
  const pools = (metadata.count(`${architecture}.pooling_type`) ?? 0) > 0
  return pools || ENCODERS.has(architecture) ? 'embedding' : 'generation'
}

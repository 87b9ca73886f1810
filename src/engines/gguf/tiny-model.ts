import { HelixError } from '../../core/errors.ts'
import { type Random, seededRandom } from '../../core/random.ts'
import { packedBytes } from './format.ts'
import { constantWeights, randomWeights, type WeightType } from './random-weights.ts'
import { TINY_CHAT_TEMPLATE } from './tiny-chat-template.ts'
import { TINY_TOKEN_IDS, type TinyVocabulary, tinyVocabulary } from './tiny-vocabulary.ts'
import { type GgufContents, type TensorSource, writeGguf } from './write.ts'

export interface TinyModelOptions {
  /** The same options give the same bytes. */
  readonly seed: number
  readonly name?: string
  readonly contextLength?: number
  readonly layers?: number
  readonly embeddingLength?: number
  readonly feedForwardLength?: number
  readonly headCount?: number
  readonly headCountKv?: number
  readonly vocabSize?: number
  /** How matrices are packed; Q8_0 wants lengths that are multiples of 32. */
  readonly type?: WeightType
}

type Shape = Required<TinyModelOptions>

const DEFAULTS: Omit<Shape, 'seed'> = {
  name: 'tiny',
  contextLength: 4096,
  layers: 2,
  embeddingLength: 64,
  feedForwardLength: 128,
  headCount: 4,
  headCountKv: 2,
  vocabSize: 1000,
  type: 'F16',
}

/**
 * Writes a llama model of random weights, by default one of 0.4 MB that any engine loads at once. It speaks
 * printable nonsense, obeys a grammar or a JSON schema, and practically never stops by itself: the token limit
 * decides how long an answer is. Larger shapes are streamed, so memory does not grow with them.
 * @throws HelixError `invalid_arguments` (lengths that do not divide), `invalid_value`, `disk_full`
 */
export async function writeTinyModel(path: string, options: TinyModelOptions): Promise<void> {
  const shape = { ...DEFAULTS, ...options }
  const { embeddingLength, headCount, headCountKv } = shape
  if (embeddingLength % (2 * headCount) !== 0 || headCount % headCountKv !== 0) {
    throw new HelixError(
      'invalid_arguments',
      `An embedding of ${embeddingLength} needs heads of even length, and ${headCount} heads must divide among ${headCountKv}.`,
    )
  }
  const vocabulary = tinyVocabulary(shape.vocabSize)
  await writeGguf(path, { metadata: metadataOf(shape, vocabulary), tensors: tensorsOf(shape, vocabulary) })
}

function metadataOf(shape: Shape, vocabulary: TinyVocabulary): GgufContents['metadata'] {
  return {
    'general.architecture': { type: 'string', value: 'llama' },
    'general.type': { type: 'string', value: 'model' },
    'general.name': { type: 'string', value: shape.name },
    'llama.context_length': { type: 'uint32', value: shape.contextLength },
    'llama.embedding_length': { type: 'uint32', value: shape.embeddingLength },
    'llama.block_count': { type: 'uint32', value: shape.layers },
    'llama.feed_forward_length': { type: 'uint32', value: shape.feedForwardLength },
    'llama.attention.head_count': { type: 'uint32', value: shape.headCount },
    'llama.attention.head_count_kv': { type: 'uint32', value: shape.headCountKv },
    'llama.attention.layer_norm_rms_epsilon': { type: 'float32', value: 1e-5 },
    'llama.rope.dimension_count': { type: 'uint32', value: shape.embeddingLength / shape.headCount },
    'llama.vocab_size': { type: 'uint32', value: shape.vocabSize },
    'tokenizer.ggml.model': { type: 'string', value: 'gpt2' },
    'tokenizer.ggml.pre': { type: 'string', value: 'gpt-2' },
    'tokenizer.ggml.tokens': { type: 'array', of: 'string', values: vocabulary.tokens },
    'tokenizer.ggml.token_type': { type: 'array', of: 'int32', values: vocabulary.tokenTypes },
    'tokenizer.ggml.merges': { type: 'array', of: 'string', values: vocabulary.merges },
    'tokenizer.ggml.bos_token_id': { type: 'uint32', value: TINY_TOKEN_IDS.imStart },
    'tokenizer.ggml.eos_token_id': { type: 'uint32', value: TINY_TOKEN_IDS.imEnd },
    'tokenizer.ggml.padding_token_id': { type: 'uint32', value: TINY_TOKEN_IDS.endOfText },
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: false },
    'tokenizer.chat_template': { type: 'string', value: TINY_CHAT_TEMPLATE },
  }
}

/** In the order of the file, which is also the order in which they draw from the one source of chance. */
function tensorsOf(shape: Shape, vocabulary: TinyVocabulary): TensorSource[] {
  const { embeddingLength, feedForwardLength, vocabSize, type } = shape
  const kvLength = (embeddingLength / shape.headCount) * shape.headCountKv
  const random = seededRandom(shape.seed)
  const matrix = (name: string, rowLength: number, rows: number) =>
    randomMatrix({ name, type, rowLength, rows, gain: 1, silentRows: 0, random })
  const tensors = [matrix('token_embd', embeddingLength, vocabSize)]
  for (let layer = 0; layer < shape.layers; layer += 1) {
    const block = `blk.${layer}`
    tensors.push(
      norm(`${block}.attn_norm`, embeddingLength),
      matrix(`${block}.attn_q`, embeddingLength, embeddingLength),
      matrix(`${block}.attn_k`, embeddingLength, kvLength),
      matrix(`${block}.attn_v`, embeddingLength, kvLength),
      matrix(`${block}.attn_output`, embeddingLength, embeddingLength),
      norm(`${block}.ffn_norm`, embeddingLength),
      matrix(`${block}.ffn_gate`, embeddingLength, feedForwardLength),
      matrix(`${block}.ffn_up`, embeddingLength, feedForwardLength),
      matrix(`${block}.ffn_down`, feedForwardLength, embeddingLength),
    )
  }
  const silentRows = vocabulary.speakableFrom
  tensors.push(
    norm('output_norm', embeddingLength),
    // Tokens of a silent row score 0 where the others spread to 3 and beyond, so they are hardly ever chosen.
    randomMatrix({
      name: 'output',
      type,
      rowLength: embeddingLength,
      rows: vocabSize,
      gain: 3,
      silentRows,
      random,
    }),
  )
  return tensors
}

interface RandomMatrix {
  readonly name: string
  readonly type: WeightType
  readonly rowLength: number
  readonly rows: number
  /** How much it amplifies: 1 keeps the variance of what passes through. */
  readonly gain: number
  /** The first rows, which are all zero. */
  readonly silentRows: number
  readonly random: Random
}

function randomMatrix({ name, type, rowLength, rows, gain, silentRows, random }: RandomMatrix): TensorSource {
  const amplitude = gain * Math.sqrt(3 / rowLength)
  return {
    name: `${name}.weight`,
    type,
    dimensions: [rowLength, rows],
    *chunks() {
      yield Buffer.alloc(packedBytes(type, silentRows * rowLength))
      yield* randomWeights({ type, elements: (rows - silentRows) * rowLength, amplitude, random })
    },
  }
}

function norm(name: string, length: number): TensorSource {
  return {
    name: `${name}.weight`,
    type: 'F32',
    dimensions: [length],
    chunks: () => [constantWeights(length, 1)],
  }
}

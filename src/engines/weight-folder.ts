import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { HelixError } from '../core/errors.ts'

/** A model that is a folder as Hugging Face lays it out: `config.json`, a tokenizer, and weights as safetensors. */
export interface WeightFolder {
  readonly path: string
  /** The files that hold the weights. */
  readonly files: readonly string[]
  /** Of the weights. */
  readonly sizeBytes: number
  readonly modifiedAtMs: number
  /** Another text for every other content. */
  readonly revision: string
  readonly facts: WeightFacts
}

/** What the folder says of the model, as far as somebody here needs it. */
export interface WeightFacts {
  readonly architecture: string | undefined
  readonly quantization: string
  readonly contextLength: number | undefined
  readonly vocabularySize: number | undefined
  readonly layers: number
  readonly keyValueHeads: number
  readonly headLength: number
}

const count = z.int().positive()

const TextConfig = z.object({
  num_hidden_layers: count,
  num_attention_heads: count,
  num_key_value_heads: count.nullish(),
  head_dim: count.nullish(),
  hidden_size: count,
  max_position_embeddings: count.nullish(),
  vocab_size: count.nullish(),
  torch_dtype: z.string().nullish(),
  dtype: z.string().nullish(),
})

const ModelConfig = z.object({
  architectures: z.array(z.string()).nullish(),
  quantization_config: z.object({ quant_method: z.string() }).nullish(),
  torch_dtype: z.string().nullish(),
  dtype: z.string().nullish(),
  /** Models that see or hear keep the numbers of their language part in here. */
  text_config: TextConfig.nullish(),
})

/** @throws HelixError `model_invalid` when it is no such folder */
export async function readWeightFolder(path: string): Promise<WeightFolder> {
  const facts = await readFacts(path)
  const names = (await readdir(path)).filter((name) => name.endsWith('.safetensors')).sort()
  if (names.length === 0) throw invalid(path, 'it holds no .safetensors file')
  const files = names.map((name) => join(path, name))
  const found = await Promise.all(files.map((file) => stat(file)))
  const identity = found.map(({ size, mtimeMs }, index) => [names[index], size, mtimeMs])
  return {
    ...{ path, files, facts },
    sizeBytes: found.reduce((sum, { size }) => sum + size, 0),
    modifiedAtMs: Math.max(...found.map(({ mtimeMs }) => mtimeMs)),
    revision: createHash('sha256')
      .update(JSON.stringify([identity, facts]))
      .digest('hex')
      .slice(0, 16),
  }
}

async function readFacts(path: string): Promise<WeightFacts> {
  const text = await readFile(join(path, 'config.json'), 'utf8').catch(() => undefined)
  if (text === undefined) throw invalid(path, 'it holds no config.json')
  const whole = parsed(path, ModelConfig, text)
  const own = whole.text_config ?? parsed(path, TextConfig, text)
  return {
    architecture: whole.architectures?.[0],
    quantization:
      whole.quantization_config?.quant_method ??
      own.dtype ??
      own.torch_dtype ??
      whole.dtype ??
      whole.torch_dtype ??
      'unknown',
    contextLength: own.max_position_embeddings ?? undefined,
    vocabularySize: own.vocab_size ?? undefined,
    layers: own.num_hidden_layers,
    keyValueHeads: own.num_key_value_heads ?? own.num_attention_heads,
    headLength: own.head_dim ?? Math.ceil(own.hidden_size / own.num_attention_heads),
  }
}

function parsed<T>(path: string, schema: z.ZodType<T>, text: string): T {
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause)
    throw invalid(path, `its config.json is none: ${reason}`)
  }
}

function invalid(path: string, reason: string): HelixError {
  return new HelixError('model_invalid', `${path} is no folder of a model: ${reason}.`)
}

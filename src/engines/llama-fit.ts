import { HelixError } from '../core/errors.ts'
import { type GgufHeader, readGgufHeader } from './gguf/read-header.ts'
import { batchSizes } from './llama-arguments.ts'
import { describeFailure, runCommand } from './llama-command.ts'
import { engineEnvironment, type LlamaEngine } from './llama-engine.ts'

export interface EstimateOptions {
  readonly engine: LlamaEngine
  readonly modelPath: string
  readonly slots: number
  /** Tokens per slot. */
  readonly contextLength: number
  readonly signal?: AbortSignal | undefined
}

/** Bytes, of all devices together. */
export interface MemoryEstimate {
  readonly modelBytes: number
  /** Keys and values of the tokens in all slots. */
  readonly contextBytes: number
  /** Room for intermediate results. */
  readonly computeBytes: number
}

const MIB = 2 ** 20
const TIMEOUT_MS = 60_000

/**
 * What one instance of a model will take. From llama.cpp itself, which lays the model out without loading it, in
 * a tenth of a second; where its tool is missing, from the header of the file.
 * @throws HelixError `model_invalid` (the file is no usable model), `not_found`, `engine_failed`; the signal's
 *   reason when it aborts
 */
export async function estimateMemory(options: EstimateOptions): Promise<MemoryEstimate> {
  const { fitParamsPath } = options.engine
  // Also the reader that is safe to show a broken file to: llama.cpp's tool aborts on some.
  const header = await readGgufHeader(options.modelPath)
  if (fitParamsPath === undefined) return estimateFromHeader(header, options)
  const result = await runCommand(fitParamsPath, fitArguments(header, options), {
    environment: engineEnvironment(options.engine),
    signal: options.signal,
    timeoutMs: TIMEOUT_MS,
  })
  const estimate = parseFit(result.stdout)
  if (result.code === 0 && estimate) return estimate
  const internal = `${fitParamsPath} ${options.modelPath}: ${describeFailure(result)}`
  const reason = /error loading model: (.*)/.exec(result.stderr)?.[1]
  if (reason !== undefined) {
    throw new HelixError('model_invalid', `The engine cannot use this model: ${reason}.`, { internal })
  }
  throw new HelixError('engine_failed', 'The engine could not tell how much memory the model needs.', {
    internal,
  })
}

/** One line per device, `Host 92 180 102`: MiB of model, context and computation. */
export function parseFit(stdout: string): MemoryEstimate | undefined {
  const rows = [...stdout.matchAll(/^\S.* (\d+) (\d+) (\d+)\s*$/gm)]
  if (rows.length === 0) return undefined
  const sum = (column: number) => rows.reduce((total, row) => total + Number(row[column]), 0) * MIB
  return { modelBytes: sum(1), contextBytes: sum(2), computeBytes: sum(3) }
}

/** Many models have heads wider than their share of the embedding, which the header as we read it does not say. */
const HEAD_LENGTH_MIN = 128

/**
 * An upper guess. Keys and values in 16 bits for each layer and head; models that share or window them need less.
 * For computation, the result over the vocabulary for each token of a batch, the widest layer twice, and 64 MiB.
 */
export function estimateFromHeader(
  header: Pick<
    GgufHeader,
    'fileBytes' | 'blockCount' | 'headCount' | 'headCountKv' | 'embeddingLength' | 'vocabSize' | 'kind'
  >,
  { slots, contextLength }: Pick<EstimateOptions, 'slots' | 'contextLength'>,
): MemoryEstimate {
  const share = header.headCount === 0 ? 0 : header.embeddingLength / header.headCount
  const headLength = Math.max(share, HEAD_LENGTH_MIN)
  const rowLength = header.headCountKv * headLength
  const { microBatch } = batchSizes({ kind: header.kind, slots, contextLength })
  const widest = 4 * header.embeddingLength
  return {
    modelBytes: header.fileBytes,
    contextBytes: Math.ceil(2 * header.blockCount * rowLength * 2 * slots * contextLength),
    computeBytes: 64 * MIB + microBatch * (header.vocabSize + 2 * widest) * 4,
  }
}

function fitArguments(header: GgufHeader, { modelPath, slots, contextLength }: EstimateOptions): string[] {
  const { batch, microBatch } = batchSizes({ kind: header.kind, slots, contextLength })
  return [
    ...['--model', modelPath, '--parallel', `${slots}`, '--ctx-size', `${slots * contextLength}`],
    ...['--batch-size', `${batch}`, '--ubatch-size', `${microBatch}`],
    ...['--offline', '--fit-print', 'on'],
  ]
}

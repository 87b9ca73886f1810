import { type GrantedDevice, kindOf } from './granted-device.ts'
import { llamaDeviceArguments } from './llama-devices.ts'

/** What one engine process is to serve. */
export interface EngineShape {
  readonly kind: 'generation' | 'embedding'
  /** What the engine calls the model in its answers. */
  readonly alias: string
  /** Requests worked on at the same time. */
  readonly slots: number
  /** Tokens per slot. The engine rounds up to a multiple of 256, and down to what the model was trained for. */
  readonly contextLength: number
  readonly threads: number
  /** Where it computes; undefined: on the processor alone. */
  readonly devices?: readonly GrantedDevice[] | undefined
  /** Absolute; used instead of the model's own. */
  readonly chatTemplatePath?: string | undefined
  /** Looks for invalid numbers in all weights; reads the whole file. */
  readonly checkTensors?: boolean | undefined
}

/** Host memory for prompts that lost their slot to others; llama.cpp would take 8 GiB. */
export const PROMPT_CACHE_MIB = 256

/** More gains nothing on a processor, and little on a graphics card. */
const GENERATION_BATCH_TOKENS = 512

/** A card works on several of these one after another without waiting for the processor. */
const CARD_BATCH_TOKENS = 2_048

/** Threads beyond one per slot, for health checks and the like while all slots are busy. */
const SPARE_HTTP_THREADS = 4

/** The command line of `llama-server`. No secret is in it: everybody on the machine can read it. */
export function llamaServerArguments(shape: EngineShape, modelPath: string, socketPath: string): string[] {
  return [
    ...['--model', modelPath, '--host', socketPath, '--alias', shape.alias],
    ...['--parallel', `${shape.slots}`, '--ctx-size', `${shape.slots * shape.contextLength}`],
    // Each slot has its context for itself, and says so when it is full: a request that fits alone always fits.
    ...['--no-kv-unified', '--no-context-shift', '--cache-ram', `${PROMPT_CACHE_MIB}`],
    ...llamaDeviceArguments(shape.devices ?? []),
    ...['--threads', `${shape.threads}`, '--threads-http', `${shape.slots + SPARE_HTTP_THREADS}`],
    // The pool has decided what goes where; the engine must not decide again, nor fetch anything.
    ...['--fit', 'off', '--offline', '--no-webui', '--slots'],
    ...['--jinja', '--no-prefill-assistant'],
    ...(shape.chatTemplatePath ? ['--chat-template-file', shape.chatTemplatePath] : []),
    ...(shape.checkTensors ? ['--check-tensors'] : []),
    ...embeddingArguments(shape),
    // Warnings and errors. The line prefix is what tells them from text of a request.
    ...['--log-verbosity', '2', '--log-prefix', '--log-timestamps'],
  ]
}

/**
 * Tokens computed at once, `microBatch` of them in one piece. The piece is also the longest text that can be embedded,
 * which the engine takes whole or not at all, and the batch the most that is computed in vain for a client that leaves
 * while its prompt is read. llama.cpp lays out its graph for pieces of as many tokens for each slot, and aborts at the
 * start (`ggml_can_mul_mat`) where a mean is to be made of a piece that its slots do not divide.
 */
export function batchSizes({
  kind,
  slots,
  contextLength,
  devices = [],
}: Pick<EngineShape, 'kind' | 'slots' | 'contextLength' | 'devices'>): {
  readonly batch: number
  readonly microBatch: number
} {
  const whole = (tokens: number) => Math.ceil(tokens / slots) * slots
  if (kind === 'embedding') return { batch: whole(contextLength), microBatch: whole(contextLength) }
  const batch = kindOf(devices) === 'cpu' ? GENERATION_BATCH_TOKENS : CARD_BATCH_TOKENS
  return { batch: whole(batch), microBatch: whole(GENERATION_BATCH_TOKENS) }
}

/** Flags that this `llama-server` does not know, going by what it prints for `--help`. */
export function missingFlags(help: string): string[] {
  const everything: EngineShape = {
    kind: 'embedding',
    alias: 'any',
    slots: 1,
    contextLength: 1,
    threads: 1,
    chatTemplatePath: '/any',
    checkTensors: true,
  }
  const card = { id: '', kind: 'cuda', name: '', bytes: 1, totalBytes: 1, freeBytes: 1 } as const
  const needed = [
    ...llamaServerArguments(everything, '/any', '/any'),
    ...llamaServerArguments({ ...everything, kind: 'generation', devices: [card] }, '/any', '/any'),
    ...llamaServerArguments({ ...everything, devices: [card, card] }, '/any', '/any'),
  ].filter((argument) => argument.startsWith('--'))
  const known = new Set(help.match(/(?<![\w-])--[a-z][\w-]*/g))
  return [...new Set(needed)].filter((flag) => !known.has(flag))
}

function embeddingArguments(shape: EngineShape): string[] {
  const { batch, microBatch } = batchSizes(shape)
  return [
    ...['--embeddings', '--batch-size', `${batch}`, '--ubatch-size', `${microBatch}`],
    // A generating model has no pooling of its own; the mean over all tokens is the usual one.
    ...(shape.kind === 'generation' ? ['--pooling', 'mean'] : []),
  ]
}

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { writeTinyModel } from './gguf/tiny-model.ts'
import type { GrantedDevice } from './granted-device.ts'
import type { LlamaEngine } from './llama-engine.ts'
import { askEngine, type LlamaSocket } from './llama-request.ts'
import { startLlamaServer } from './llama-server.ts'

/** What a trial has to know of a device. */
export type TrialDevice = Pick<GrantedDevice, 'id' | 'kind' | 'name'>

export interface TrialOptions {
  /** Undefined: the processor. */
  readonly device?: TrialDevice | undefined
  readonly clock: Clock
  readonly log: Logger
  readonly signal?: AbortSignal | undefined
}

const START_TIMEOUT_MS = 60_000
const ANSWER_TIMEOUT_MS = 60_000
const STOP_GRACE_MS = 5_000

/** The tiny model fits wherever a process does. */
const UNCOUNTED = { bytes: 0, totalBytes: 0, freeBytes: 0 }

const Completion = z.object({ usage: z.object({ completion_tokens: z.int().positive() }) })
const Embedding = z.object({ data: z.array(z.object({ embedding: z.array(z.number()).min(1) })).min(1) })

/**
 * Starts the engine as real ones are started and has it generate: a program that prints its version, and even one
 * that loads a model, may still fail at the first computation on this machine's processor or graphics card.
 * @throws HelixError `engine_failed`; the signal's reason when it aborts
 */
export async function tryEngine(engine: LlamaEngine, options: TrialOptions): Promise<void> {
  // The system's folder for temporary files, because the path of the socket in it must be short.
  const directory = await mkdtemp(join(tmpdir(), 'helixflow-trial-'))
  try {
    const modelPath = join(directory, 'tiny.gguf')
    await writeTinyModel(modelPath, { seed: 1 })
    const { device, ...parts } = options
    const server = await startLlamaServer({
      ...parts,
      engine,
      devices: device ? [{ ...device, ...UNCOUNTED }] : [],
      modelPath,
      alias: 'trial',
      kind: 'generation',
      slots: 1,
      contextLength: 512,
      // More threads than free cores make a tiny model a thousand times slower.
      threads: 1,
      socketDirectory: directory,
      startTimeoutMs: START_TIMEOUT_MS,
    })
    try {
      await generate(server.address, options.signal)
    } finally {
      await server.stop(STOP_GRACE_MS)
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function generate(socket: LlamaSocket, signal: AbortSignal | undefined): Promise<void> {
  const messages = [{ role: 'user', content: 'Hello' }]
  const asked = [
    { path: '/v1/chat/completions', body: { messages, max_tokens: 4 }, schema: Completion },
    { path: '/v1/embeddings', body: { input: 'Hello' }, schema: Embedding },
  ]
  for (const { path, body, schema } of asked) {
    const answer = await askEngine(socket, path, { timeoutMs: ANSWER_TIMEOUT_MS, body, signal })
    const result = schema.safeParse(answer.body)
    if (answer.status === 200 && result.success) continue
    throw new HelixError('engine_failed', `The engine does not answer ${path} as it should.`, {
      internal: `${path}: status ${answer.status}: ${JSON.stringify(answer.body)?.slice(0, 500)}`,
    })
  }
}

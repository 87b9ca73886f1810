import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { silentLog } from '../../src/core/log.ts'
import type { Engine } from '../../src/engines/engine.ts'
import type { GrantedDevice } from '../../src/engines/granted-device.ts'
import { findManagedProgram, type ManagedKind } from '../../src/engines/managed-program.ts'
import { type ManagedStart, startManagedServer } from '../../src/engines/managed-server.ts'
import { systemClock } from '../../src/system.ts'
import { testDirectory } from './engine.ts'

/** See `scripted-vllm.mjs`. */
export interface Behaviour {
  readonly failsToStart?: boolean
  readonly neverReady?: boolean
  readonly diesComputing?: boolean
  readonly failsComputing?: boolean
}

const GIB = 2 ** 30

export const TEST_CARD: GrantedDevice = {
  ...{ id: 'GPU-test', kind: 'cuda', name: 'card of a test', bytes: 20 * GIB },
  ...{ totalBytes: 80 * GIB, freeBytes: 80 * GIB },
}

/** The command that starts the script instead of vLLM or SGLang. */
export const SCRIPTED = `${process.execPath} ${join(import.meta.dirname, 'scripted-vllm.mjs')}`

/** A folder of a model, as Hugging Face lays it out, with weights that nobody reads. */
export function writeModelFolder(folder: string, behaviour: Behaviour = {}): string {
  mkdirSync(folder, { recursive: true })
  const config = {
    ...{ architectures: ['LlamaForCausalLM'], torch_dtype: 'bfloat16', vocab_size: 1000 },
    ...{ num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, hidden_size: 64 },
    max_position_embeddings: 4096,
  }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  writeFileSync(join(folder, 'model.safetensors'), Buffer.alloc(4096))
  writeFileSync(join(folder, 'behaviour.json'), JSON.stringify(behaviour))
  return folder
}

/** Starts the script as that engine; it is stopped when the test has ended. */
export async function startScripted(
  kind: ManagedKind,
  { behaviour, ...changes }: Partial<ManagedStart> & { readonly behaviour?: Behaviour } = {},
): Promise<Engine> {
  const directory = await testDirectory()
  const modelPath = changes.modelPath ?? writeModelFolder(join(directory, 'model'), behaviour)
  const program = await findManagedProgram(kind, { configured: SCRIPTED, searchPath: '/usr/bin:/bin' })
  const engine = await startManagedServer({
    ...{ program, alias: 'tiny', slots: 2, contextLength: 1024, devices: [TEST_CARD], extra: [] },
    ...{ vocabularySize: 1000, chatTemplatePath: undefined, startTimeoutMs: 30_000 },
    ...{ socketDirectory: join(directory, 'run'), cacheDirectory: join(directory, 'cache') },
    ...{ clock: systemClock, log: silentLog, ...changes, modelPath },
  })
  onTestFinished(() => engine.stop(0))
  return engine
}

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { silentLog } from '../../src/core/log.ts'
import { writeTinyModel } from '../../src/engines/gguf/tiny-model.ts'
import { ensureLlamaServer, type LlamaEngine } from '../../src/engines/llama-locate.ts'
import { type LlamaServer, type StartOptions, startLlamaServer } from '../../src/engines/llama-server.ts'
import { systemClock } from '../../src/system.ts'

/** Kept between runs, because a build takes minutes. It is keyed by all that goes into it. */
export const ENGINE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/helixflow/engines')

let engine: Promise<LlamaEngine> | undefined

/** A llama-server that works here, built by the first test that asks for one. */
export function testEngine(): Promise<LlamaEngine> {
  engine ??= ensureLlamaServer({
    searchPath: process.env['PATH'] ?? '',
    cacheDirectory: ENGINE_CACHE,
    onProgress: () => {},
    clock: systemClock,
    log: silentLog,
  })
  return engine
}

/** A folder of this test, gone when the test has ended. Its path is short enough for sockets. */
export async function testDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'hf-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** Starts the tiny model, or another; it is stopped when the test has ended. */
export async function startTestServer(changes: Partial<StartOptions> = {}): Promise<LlamaServer> {
  const directory = await testDirectory()
  const modelPath = join(directory, 'tiny.gguf')
  await writeTinyModel(modelPath, { seed: 7 })
  const server = await startLlamaServer({
    engine: await testEngine(),
    modelPath,
    alias: 'tiny',
    kind: 'generation',
    slots: 2,
    contextLength: 1024,
    // More threads than free cores make a tiny model a thousand times slower.
    threads: 1,
    socketDirectory: join(directory, 'run'),
    startTimeoutMs: 30_000,
    clock: systemClock,
    log: silentLog,
    ...changes,
  })
  onTestFinished(() => server.stop(0))
  return server
}

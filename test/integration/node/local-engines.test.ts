import { join } from 'node:path'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { HelixError } from '../../../src/core/errors.ts'
import { silentLog } from '../../../src/core/log.ts'
import { writeTinyModel } from '../../../src/engines/gguf/tiny-model.ts'
import { askEngine } from '../../../src/engines/llama-request.ts'
import { findManagedProgram } from '../../../src/engines/managed-program.ts'
import { ModelStore } from '../../../src/engines/model-store.ts'
import { PageCache } from '../../../src/node/devices/page-cache.ts'
import { LocalEngines } from '../../../src/node/local-engines.ts'
import { LocalModels } from '../../../src/node/local-models.ts'
import { systemClock } from '../../../src/system.ts'
import { testDirectory, testEngine } from '../../support/engine.ts'
import { SCRIPTED, TEST_CARD, writeModelFolder } from '../../support/managed-engine.ts'
import { sourceSettings } from '../../support/model-sources.ts'
import { commandLineOf } from '../../support/processes.ts'

beforeAll(testEngine)

const shape = { slots: 2, contextLength: 512, chatTemplate: undefined, engine: undefined }

describe('a model that is a folder', () => {
  test('is listed with what its files say, and runs in vLLM on a card', async () => {
    const { engines, models } = await machine()
    expect(await models.list()).toMatchObject([
      { name: 'first', architecture: 'llama', engine: 'llama-server' },
      { name: 'folder', architecture: 'LlamaForCausalLM', sizeBytes: 4096, engine: 'vllm' },
      { name: 'second', architecture: 'llama' },
    ])
    const { engine, revision } = await start(engines, 'folder', { devices: [TEST_CARD] })
    expect(engine).toMatchObject({ kind: 'vllm', contextLength: 512, supportsTools: false })
    expect((await models.list())[1]?.revision).toBe(revision)
    const body = { model: 'folder', prompt: 'Hello', max_tokens: 1 }
    const answer = await askEngine(engine.address, '/v1/completions', { timeoutMs: 5_000, body })
    expect(answer.status).toBe(200)
  })

  test('runs in SGLang where the configuration says so', async () => {
    const { engines } = await machine()
    const asked = { devices: [TEST_CARD], shape: { ...shape, engine: 'sglang' } } as const
    expect((await start(engines, 'folder', asked)).engine.kind).toBe('sglang')
  })

  test('is reckoned by its files, without starting an engine', async () => {
    const { engines } = await machine()
    const { memoryBytes, perDeviceBytes } = await engines.estimate('folder', shape, true)
    expect(memoryBytes).toBe(4096 + 2 * 2 * 2 * 16 * 2 * 1024 + perDeviceBytes)
  })

  test('is quarantined and released without a word in the folder', async () => {
    const { models } = await machine()
    await models.quarantine('folder', 'it crashed')
    expect((await models.list())[1]).toMatchObject({ quarantinedBecause: 'it crashed' })
    await models.release('folder')
    expect((await models.list())[1]).toMatchObject({ quarantinedBecause: undefined })
  })

  test('that is none is listed with the reason, and does not hide the others', async () => {
    const { models } = await machine({ path: '/nonexistent' })
    expect(await models.list()).toMatchObject([
      { name: 'first' },
      { name: 'folder', invalidBecause: expect.stringContaining('config.json') },
      { name: 'second' },
    ])
  })
})

test('an engine that does not run such a model is refused by name', async () => {
  const { engines } = await machine()
  const asked = { shape: { ...shape, engine: 'vllm' } } as const
  await expect(start(engines, 'first', asked)).rejects.toMatchObject({
    code: 'invalid_configuration',
    publicMessage: expect.stringContaining('a GGUF file'),
  })
})

test('engines on the processor divide its cores, and give them back', async () => {
  const { engines } = await machine()
  const threadsOf = (pid: number) => Number(/--threads (\d+)/.exec(commandLineOf(pid))?.[1])
  const { engine: first } = await start(engines, 'first')
  const { engine: second } = await start(engines, 'second')
  // Three models on six cores.
  expect([threadsOf(first.pid), threadsOf(second.pid)]).toEqual([2, 2])
  const copies = [await start(engines, 'first'), await start(engines, 'first')]
  expect(copies.map(({ engine }) => threadsOf(engine.pid))).toEqual([2, 1])
  await first.stop(2_000)
  expect(threadsOf((await start(engines, 'first')).engine.pid)).toBe(1)
})

test('a card on which no engine computes is known by that, and the processor is not', async () => {
  const { engines } = await machine()
  await expect(start(engines, 'first', { devices: [TEST_CARD] })).rejects.toMatchObject({
    code: 'engine_unusable',
  })
  expect(engines.problem(TEST_CARD)?.publicMessage).toBe('no code for this card')
  expect(engines.problem({ ...TEST_CARD, name: 'another card' })).toBeUndefined()
  await start(engines, 'first')
  expect(engines.problem()).toBeUndefined()
})

async function machine(changes: { readonly path?: string } = {}) {
  const directory = await testDirectory()
  const path = changes.path ?? writeModelFolder(join(directory, 'weights'))
  const store = await ModelStore.open({
    ...{ directory: join(directory, 'models'), sources: sourceSettings({}), clock: systemClock },
    log: silentLog,
  })
  for (const [index, name] of ['first', 'second'].entries()) {
    await writeTinyModel(join(directory, 'models', `${name}.gguf`), { seed: index })
  }
  const models = new LocalModels(store, { folder: { path } }, new PageCache(systemClock), systemClock)
  const engines = new LocalEngines({
    models,
    llamaServer: async (devices) => {
      if (devices.length > 0) throw new HelixError('engine_unusable', 'no code for this card')
      return testEngine()
    },
    managed: (kind) => findManagedProgram(kind, { configured: SCRIPTED, searchPath: '/usr/bin:/bin' }),
    ...{ socketDirectory: join(directory, 'run'), cacheDirectory: join(directory, 'cache') },
    ...{ threads: undefined, cores: 6, startTimeoutMs: 60_000, clock: systemClock, log: silentLog },
  })
  return { engines, models }
}

let instances = 0

async function start(
  engines: LocalEngines,
  model: string,
  asked: { devices?: readonly (typeof TEST_CARD)[]; shape?: Parameters<LocalEngines['estimate']>[1] } = {},
) {
  const request = { instanceId: `instance-${instances++}`, model, shape: asked.shape ?? shape, shares: [] }
  const started = await engines.start(request, asked.devices ?? [], new AbortController().signal)
  onTestFinished(() => started.engine.stop(0))
  return started
}

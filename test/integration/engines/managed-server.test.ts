import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Engine } from '../../../src/engines/engine.ts'
import { findManagedProgram } from '../../../src/engines/managed-program.ts'
import { putToSleep, wakeUp } from '../../../src/node/engine-sleep.ts'
import { systemClock } from '../../../src/system.ts'
import { testDirectory } from '../../support/engine.ts'
import {
  type Behaviour,
  heldBytes,
  SCRIPTED,
  startScripted,
  TEST_CARD,
  writeModelFolder,
} from '../../support/managed-engine.ts'
import { environmentOf, isRunning } from '../../support/processes.ts'

describe('a managed engine', () => {
  test('sees its own cards and none of our variables', async () => {
    const engine = await startScripted('vllm')
    if (process.platform !== 'linux') return
    expect(Object.keys(environmentOf(engine.pid)).sort()).toEqual([
      ...['CUDA_VISIBLE_DEVICES', 'DO_NOT_TRACK', 'HF_HUB_OFFLINE', 'HOME', 'PATH'],
      ...['TRANSFORMERS_OFFLINE', 'VLLM_API_KEY', 'VLLM_NO_USAGE_STATS', 'VLLM_SERVER_DEV_MODE'],
    ])
    expect(environmentOf(engine.pid)['CUDA_VISIBLE_DEVICES']).toBe(TEST_CARD.id)
  })

  test.each([
    ['answers with an error', { failsComputing: true }, /test generation failed/],
    ['ends', { diesComputing: true }, /SIGABRT/],
  ])('is no engine when its first computation %s', async (_name, behaviour, message) => {
    await expect(startScripted('vllm', { behaviour })).rejects.toMatchObject({
      code: 'engine_failed',
      publicMessage: expect.stringMatching(message),
    })
  })

  test('is not started on a processor', async () => {
    const processor = { ...TEST_CARD, kind: 'cpu' } as const
    await expect(startScripted('sglang', { devices: [processor] })).rejects.toMatchObject({
      code: 'engine_unusable',
      publicMessage: expect.stringContaining('models.perModel.tiny.devices'),
    })
  })
})

describe('vLLM of an older release', () => {
  test('listens on a port of this machine, and is not asked to sleep', async () => {
    const wrapper = join(await testDirectory(), 'vllm')
    writeFileSync(wrapper, `#!/bin/sh\nOLD=1 exec ${SCRIPTED} "$@"\n`, { mode: 0o755 })
    const program = await findManagedProgram('vllm', { configured: wrapper, searchPath: '/usr/bin:/bin' })
    expect(program).toMatchObject({ listensOnSockets: false, sleeps: false })
    const engine = await startScripted('vllm', { program })
    expect(engine.address).toMatchObject({ url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/) })
    expect(engine.sleeping).toBeUndefined()
  })
})

describe('a program that is not here', () => {
  test.each([
    ['vllm', undefined, 'engine_missing', /pip install vllm.*engines\.vllm/],
    ['vllm', '/nonexistent/vllm', 'engine_missing', /no command/],
    ['sglang', 'false', 'engine_unusable', /--help/],
  ] as const)('%s configured as %s: %s', async (kind, configured, code, message) => {
    const searchPath = configured === undefined ? '/nonexistent' : '/usr/bin:/bin'
    await expect(findManagedProgram(kind, { configured, searchPath })).rejects.toMatchObject({
      code,
      publicMessage: expect.stringMatching(message),
    })
  })
})

describe('sleep', () => {
  test('gives the card back, and the engine works again afterwards', async () => {
    const { engine, sleep } = await sleeper({})
    expect(await sleep()).toBe(true)
    expect(isRunning(engine.pid)).toBe(true)
    expect(await wakeUp(engine, 2_000)).toBe(true)
  })

  test('of an engine that says yes and holds on ends it', async () => {
    const { engine, sleep } = await sleeper({ keepsMemory: true })
    expect(await sleep()).toBe(false)
    expect(isRunning(engine.pid)).toBe(false)
  })

  test('from which it does not wake ends it', async () => {
    const { engine, sleep } = await sleeper({ cannotWake: true })
    expect(await sleep()).toBe(true)
    expect(await wakeUp(engine, 2_000)).toBe(false)
    expect(isRunning(engine.pid)).toBe(false)
  })
})

async function sleeper(behaviour: Behaviour): Promise<{ engine: Engine; sleep: () => Promise<boolean> }> {
  const modelPath = writeModelFolder(join(await testDirectory(), 'model'), behaviour)
  const engine = await startScripted('vllm', { modelPath })
  const usedBytes = () => heldBytes(modelPath)
  const sleep = () =>
    putToSleep(engine, { usedBytes, freedBytesMin: 500, timeoutMs: 300, clock: systemClock })
  return { engine, sleep }
}

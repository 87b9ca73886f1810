import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { findManagedProgram } from '../../../src/engines/managed-program.ts'
import { testDirectory } from '../../support/engine.ts'
import { SCRIPTED, startScripted, TEST_CARD } from '../../support/managed-engine.ts'
import { environmentOf } from '../../support/processes.ts'

describe('a managed engine', () => {
  test('sees its own cards and none of our variables', async () => {
    const engine = await startScripted('vllm')
    if (process.platform !== 'linux') return
    expect(Object.keys(environmentOf(engine.pid)).sort()).toEqual([
      ...['CUDA_VISIBLE_DEVICES', 'DO_NOT_TRACK', 'HF_HUB_OFFLINE', 'HOME', 'PATH'],
      ...['TRANSFORMERS_OFFLINE', 'VLLM_API_KEY', 'VLLM_NO_USAGE_STATS'],
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
  test('listens on a port of this machine', async () => {
    const wrapper = join(await testDirectory(), 'vllm')
    writeFileSync(wrapper, `#!/bin/sh\nOLD=1 exec ${SCRIPTED} "$@"\n`, { mode: 0o755 })
    const program = await findManagedProgram('vllm', { configured: wrapper, searchPath: '/usr/bin:/bin' })
    expect(program).toMatchObject({ listensOnSockets: false })
    const engine = await startScripted('vllm', { program })
    expect(engine.address).toMatchObject({ url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/) })
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

import { describe, expect, test } from 'vitest'
import { memoryArguments, memorySettings, SHARED_MACHINE_SHARE, worstCaseBytes } from './memory-settings.ts'

const GIB = 2 ** 30
const CONNECTIONS = 200

describe('the memory of a database', () => {
  test.each([
    [1, '32MB', '4MB', '32MB'],
    [8, '204MB', '4MB', '32MB'],
    [64, '1638MB', '16MB', '204MB'],
    [512, '4096MB', '131MB', '512MB'],
    [2_048, '4096MB', '256MB', '512MB'],
  ])('that shares a machine of %d GiB with models', (machine, shared_buffers, work_mem, maintenance) => {
    const settings = memorySettings(machine * GIB * SHARED_MACHINE_SHARE, CONNECTIONS)
    expect(memoryArguments(settings)).toMatchObject({
      shared_buffers,
      work_mem,
      maintenance_work_mem: maintenance,
    })
  })

  test('is enough at worst from 16 GiB on, whatever all connections do', () => {
    for (let machine = 16; machine <= 4_096; machine *= 2) {
      const share = machine * GIB * SHARED_MACHINE_SHARE
      expect(worstCaseBytes(memorySettings(share, CONNECTIONS), CONNECTIONS)).toBeLessThanOrEqual(share)
    }
  })

  test('grows with what there is, and never shrinks', () => {
    const sizes = Array.from({ length: 200 }, (_, at) => memorySettings(at * GIB, CONNECTIONS))
    for (const [at, now] of sizes.entries()) {
      const before = sizes[Math.max(0, at - 1)] ?? now
      for (const key of ['sharedBuffers', 'workMem', 'maintenanceWorkMem', 'effectiveCacheSize'] as const)
        expect(now[key]).toBeGreaterThanOrEqual(before[key])
    }
  })
})

import { expect, test } from 'vitest'
import { appleDevice } from './apple-device.ts'
import { MachineMemoryDevice } from './machine-memory-device.ts'

const GIB = 2 ** 30
const MACHINE = { platform: 'darwin', architecture: 'arm64', memoryBytes: 64 * GIB }

test('an Apple GPU has three quarters of the memory, or what the operator gives', () => {
  expect(appleDevice('node', MACHINE, undefined)).toMatchObject({
    id: 'node/metal',
    kind: 'metal',
    totalBytes: 48 * GIB,
  })
  expect(appleDevice('node', MACHINE, 10 * GIB)?.totalBytes).toBe(10 * GIB)
})

test('other machines have none', () => {
  expect(appleDevice('node', { ...MACHINE, platform: 'linux' }, undefined)).toBeUndefined()
  expect(appleDevice('node', { ...MACHINE, architecture: 'x64' }, undefined)).toBeUndefined()
})

test('the same bytes are not given by the GPU and by the CPU', () => {
  const unifiedBytes = appleDevice('node', MACHINE, 10 * GIB)?.totalBytes ?? 0
  const cpu = new MachineMemoryDevice({
    nodeId: 'node',
    limitBytes: 10 * GIB,
    unifiedBytes,
    root: '/nowhere',
  })
  expect(cpu.next({ ownBytes: 0, areStarting: false }).totalBytes).toBe(0)
})

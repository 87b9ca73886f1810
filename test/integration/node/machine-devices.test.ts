import { spawn } from 'node:child_process'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { DeviceReport } from '../../../src/contracts/node.ts'
import { silentLog } from '../../../src/core/log.ts'
import { MachineDevices } from '../../../src/node/devices/machine-devices.ts'
import { systemClock } from '../../../src/system.ts'
import { NvmlLibrary } from '../../support/nvml/nvml-library.ts'

const GIB = 2 ** 30
const FIRST = { id: 'GPU-one', name: 'Card', slowdown: 90, temperature: 50 }
const SECOND = { ...FIRST, id: 'GPU-two', memory: [24 * GIB, 0, 0] } as const

function open(nvmlLibrary: string): MachineDevices {
  const options = {
    nodeId: 'node',
    memoryLimit: 4 * GIB,
    sys: '/nowhere',
    clock: systemClock,
    log: silentLog,
  }
  const devices = new MachineDevices({ ...options, nvmlLibrary })
  onTestFinished(() => devices.close())
  return devices
}

/** A process that we started, behind a shell as an engine of the PATH may be. */
function engine(): { readonly shell: number; readonly inner: Promise<number>; end(): void } {
  const child = spawn('/bin/sh', ['-c', 'sleep 600 & echo $!; wait'], { detached: true })
  const pid = child.pid ?? 0
  const end = () => void process.kill(-pid, 'SIGKILL')
  onTestFinished(() => {
    if (child.exitCode === null && child.signalCode === null) end()
  })
  const inner = new Promise<number>((resolve) => child.stdout.once('data', (text) => resolve(Number(text))))
  return { shell: pid, inner, end }
}

describe('the devices of a machine', () => {
  test('tell what our engine takes from what others take, measure it, and say when it is free', async () => {
    const { shell, inner, end } = engine()
    const held = { pid: await inner, bytes: 20 * GIB }
    const others = { pid: 1, bytes: 5 * GIB }
    const library = new NvmlLibrary({
      cards: [{ ...FIRST, memory: [80 * GIB, 0, 25 * GIB], processes: [held, others] }, SECOND],
    })
    const devices = open(library.path)
    devices.claim('a', { pid: shell, shares: [{ deviceId: 'GPU-one', bytes: 21 * GIB }] })
    const found = (await devices.list()).map(({ id, kind, totalBytes, foreignBytes }) => [
      ...[id, kind, totalBytes / GIB, foreignBytes / GIB],
    ])
    expect(found).toEqual([
      ['GPU-one', 'cuda', 80, 5],
      ['GPU-two', 'cuda', 24, 0],
      ['node/cpu', 'cpu', 4, 0],
    ])
    const [card, memory, ...more] = await devices.measure(shell, ['GPU-one', 'GPU-two', 'node/cpu'])
    expect([card, more]).toEqual([{ deviceId: 'GPU-one', bytes: 20 * GIB }, []])
    expect(memory?.bytes).toBeGreaterThan(100_000)
    let isFree = false
    const released = devices.expectRelease(shell, ['GPU-one', 'node/cpu'])
    end()
    const waiting = released().then(() => {
      isFree = true
    })
    await devices.measure(shell, ['GPU-one'])
    expect(isFree).toBe(false)
    library.sees({ cards: [{ ...FIRST, memory: [80 * GIB, 0, 5 * GIB], processes: [others] }, SECOND] })
    await waiting
  })

  test('tell whoever watches that a process came, a card is hot, and one is lost', async () => {
    const library = new NvmlLibrary({ cards: [{ ...FIRST, memory: [80 * GIB, 0, 0] }, SECOND] })
    const devices = open(library.path)
    const seen: (readonly DeviceReport[])[] = []
    onTestFinished(devices.watch((reports) => seen.push(reports)))
    const latest = (id: string) => seen.at(-1)?.find((device) => device.id === id)
    await expect.poll(() => latest('GPU-one')?.foreignBytes).toBe(0)
    const processes = [{ pid: 1, bytes: 9 * GIB }]
    library.sees({
      cards: [
        { ...FIRST, memory: [80 * GIB, 0, 9 * GIB], processes },
        { ...SECOND, temperature: 93 },
      ],
    })
    await expect.poll(() => latest('GPU-one')?.foreignBytes).toBe(9 * GIB)
    await expect.poll(() => latest('GPU-two')?.health).toBe('hot')
    library.sees({
      cards: [
        { ...FIRST, memory: [80 * GIB, 0, 0] },
        { ...SECOND, lost: true },
      ],
    })
    await expect.poll(() => latest('GPU-two')?.health).toBe('lost')
    expect(latest('GPU-one')?.health).toBe('ok')
  })
})

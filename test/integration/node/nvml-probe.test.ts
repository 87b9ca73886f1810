import { describe, expect, onTestFinished, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { NvmlProbe } from '../../../src/node/devices/nvml-probe.ts'
import { systemClock } from '../../../src/system.ts'
import { type Card, type Driver, NvmlLibrary } from '../../support/nvml/nvml-library.ts'
import { isRunning } from '../../support/processes.ts'

const GIB = 2 ** 30
const H100: Card = {
  ...{ id: 'GPU-one', name: 'NVIDIA H100 80GB HBM3', memory: [80 * GIB, GIB, 30 * GIB] },
  ...{ temperature: 61, slowdown: 87, reasons: 1, power: 250_500, utilization: 37 },
}

function probe(driver: Driver, silenceMs?: number) {
  const library = new NvmlLibrary(driver)
  const opened = new NvmlProbe({ library: library.path, clock: systemClock, log: silentLog, silenceMs })
  onTestFinished(() => opened.close())
  return { library, probe: opened }
}

describe('a probe of NVIDIA devices', () => {
  test('tells memory, processes, heat and power of each card', async () => {
    const processes = Array.from({ length: 40 }, (_, index) => ({ pid: 4_000 + index, bytes: index * GIB }))
    const { probe: asked } = probe({
      cards: [
        { ...H100, processes },
        { id: 'GPU-two', processes: [{ pid: 7 }] },
        { id: 'GPU-three', unlisted: true },
        { id: 'GPU-four' },
      ],
    })
    const [one, two, ...others] = (await asked.read()) ?? []
    expect(one).toEqual({
      ...{ id: 'GPU-one', name: 'NVIDIA H100 80GB HBM3', totalBytes: 79 * GIB, usedBytes: 30 * GIB },
      ...{ processes, temperatureCelsius: 61, slowdownCelsius: 87, isSlowed: false, powerWatts: 250.5 },
      utilization: 0.37,
    })
    // What a driver does not say is not known; no list of processes is another thing than an empty one.
    expect(two).toEqual({ id: 'GPU-two', name: 'NVIDIA GPU', processes: [{ pid: 7 }] })
    expect(others.map(({ processes }) => processes)).toEqual([undefined, []])
  })

  test('puts cards that are linked or behind one switch into one clique, and lists instances instead of a card', async () => {
    const mig = [
      { id: 'MIG-1', memory: [10 * GIB, 0, GIB] },
      { id: 'MIG-2', memory: [20 * GIB, 0, 0] },
    ] as const
    const cards = [
      ...[{ id: 'a', nvlink: 3 }, { id: 'b' }, { id: 'c', switch: 4 }, { id: 'd' }, { id: 'e', switch: 6 }],
      ...[{ id: 'f' }, { ...H100, mig }],
    ]
    const readings = (await probe({ cards }).probe.read()) ?? []
    expect(readings.slice(0, 6).map(({ clique }) => clique)).toEqual(['a', undefined, 'a', 'a', 'e', 'e'])
    const instances = readings.slice(6)
    expect(
      instances.map(({ id, totalBytes, temperatureCelsius }) => [id, totalBytes, temperatureCelsius]),
    ).toEqual([
      ['MIG-1', 10 * GIB, 61],
      ['MIG-2', 20 * GIB, 61],
    ])
  })

  test('says that a card is lost while others answer', async () => {
    const { library, probe: asked } = probe({ cards: [H100, { id: 'GPU-two' }] })
    await asked.read()
    library.sees({ cards: [{ ...H100, lost: true }, { id: 'GPU-two' }] })
    const [one, two] = (await asked.read()) ?? []
    expect(one).toMatchObject({ id: 'GPU-one', lostBecause: 'the driver says that the card is lost' })
    expect(two?.lostBecause).toBeUndefined()
  })

  test('says that a card is lost which the driver reported, and not for what a program did', async () => {
    const { library, probe: asked } = probe({ cards: [H100, { id: 'GPU-two' }] })
    await asked.read()
    library.sees({
      cards: [
        { ...H100, xids: [31, 13] },
        { id: 'GPU-two', xids: [43, 79, 48] },
      ],
    })
    const [one, two] = (await asked.read()) ?? []
    expect([one?.lostBecause, two?.lostBecause]).toEqual([undefined, 'XID 79: it has fallen off the bus'])
    // For as long as the process that heard it lives.
    expect((await asked.read())?.[1]?.lostBecause).toBe('XID 79: it has fallen off the bus')
  })

  test('that somebody ends loses no card: another one answers in its place', async () => {
    // Longer than the pause between two starts.
    const { library, probe: asked } = probe({ cards: [H100], hangMs: 1_100 })
    await asked.read()
    const reading = asked.read()
    if (asked.pid === undefined) return expect.unreachable('it runs')
    process.kill(asked.pid, 'SIGKILL')
    library.sees({ cards: [H100] })
    expect(await reading).toHaveLength(1)
  })

  test('is not deceived by what a library prints', async () => {
    const { probe: asked } = probe({ cards: [H100], prints: '[warning] a card is warm' })
    expect(await asked.read()).toHaveLength(1)
    expect(await asked.read()).toHaveLength(1)
  })

  test('is given up when the driver hangs, and started anew when it no longer does', async () => {
    const { library, probe: asked } = probe({ cards: [H100] }, 2_000)
    expect(await asked.read()).toHaveLength(1)
    const first = asked.pid ?? 0
    library.sees({ cards: [H100], hangMs: 60_000 })
    expect(await asked.read()).toBeUndefined()
    await expect.poll(() => isRunning(first)).toBe(false)
    library.sees({ cards: [H100] })
    await expect.poll(() => asked.read(), { timeout: 20_000 }).toHaveLength(1)
    expect(asked.pid).not.toBe(first)
  })

  test('knows nothing where there is no library or no driver', async () => {
    expect(await probe({ cards: [], init: 9 }).probe.read()).toBeUndefined()
    const missing = new NvmlProbe({
      library: '/nowhere/libnvidia-ml.so.1',
      clock: systemClock,
      log: silentLog,
    })
    expect(await missing.read()).toBeUndefined()
    missing.close()
  })
})

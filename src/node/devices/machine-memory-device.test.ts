import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { MachineMemoryDevice } from './machine-memory-device.ts'
import { coresOf, memoryGroup } from './memory-group.ts'

const GIB = 2 ** 30
const NOTHING = { ownBytes: 0, areStarting: false }

/** A machine as its /proc and /sys show it. */
function machine(files: Readonly<Record<string, string>>) {
  const root = mkdtempSync(join(tmpdir(), 'hf-memory-'))
  onTestFinished(() => rmSync(root, { recursive: true, force: true }))
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  for (const [path, text] of Object.entries(files)) write(path, text)
  return { root, write }
}

function memoryInfo(totalGib: number, availableGib: number): string {
  return `MemTotal:       ${totalGib * 2 ** 20} kB\nMemFree:  12 kB\nMemAvailable:   ${availableGib * 2 ** 20} kB\n`
}

function device(root: string, limitBytes?: number): MachineMemoryDevice {
  return new MachineMemoryDevice({ nodeId: 'node', limitBytes, unifiedBytes: 0, root })
}

describe("the machine's own memory", () => {
  test('is four fifths of it, and all of that free while others stay within the rest', () => {
    const { root } = machine({ 'proc/meminfo': memoryInfo(100, 81) })
    const report = device(root).next(NOTHING)
    expect(report).toMatchObject({ id: 'node/cpu', totalBytes: 80 * GIB, foreignBytes: 0, health: 'ok' })
    expect(report.usedBytes).toBe(19 * GIB)
  })

  test('is what a container may have', () => {
    const { root } = machine({
      'proc/meminfo': memoryInfo(100, 90),
      'sys/fs/cgroup/memory.max': `${10 * GIB}\n`,
      'sys/fs/cgroup/memory.current': `${7 * GIB}\n`,
      'sys/fs/cgroup/memory.stat': `anon 1\ninactive_file ${4 * GIB}\nactive_file 0\n`,
    })
    // Of ten, three are in use and four hold files that the system gives back: seven can be had of eight.
    expect(device(root).next(NOTHING)).toMatchObject({ totalBytes: 8 * GIB, foreignBytes: GIB })
  })

  test('does not take the weights that an engine has mapped for the memory of others', () => {
    const { root } = machine({
      'proc/meminfo': memoryInfo(100, 90),
      'sys/fs/cgroup/memory.max': `${10 * GIB}\n`,
      'sys/fs/cgroup/memory.current': `${7 * GIB}\n`,
      // Pages that are read again and again, as weights are, are active; with multi-generational LRU all mapped ones.
      'sys/fs/cgroup/memory.stat': `inactive_file ${GIB}\nactive_file ${5 * GIB}\n`,
    })
    expect(device(root).next({ ownBytes: GIB, areStarting: false }).foreignBytes).toBe(0)
  })

  test('does not take our own engines for others', () => {
    const { root } = machine({ 'proc/meminfo': memoryInfo(100, 20) })
    expect(device(root).next({ ownBytes: 60 * GIB, areStarting: false }).foreignBytes).toBe(0)
    expect(device(root).next({ ownBytes: 40 * GIB, areStarting: false }).foreignBytes).toBe(20 * GIB)
  })

  test('leaves half to models whatever else runs', () => {
    const { root } = machine({ 'proc/meminfo': memoryInfo(100, 1) })
    expect(device(root).next(NOTHING).foreignBytes).toBe(40 * GIB)
  })

  test('takes others for there when they have stayed ten readings, and never while one of ours is starting', () => {
    const { root, write } = machine({ 'proc/meminfo': memoryInfo(100, 100) })
    const memory = device(root)
    for (let index = 0; index < 10; index++) memory.next(NOTHING)
    write('proc/meminfo', memoryInfo(100, 60))
    const seen = Array.from({ length: 10 }, () => memory.next(NOTHING).foreignBytes / GIB)
    expect(seen).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 20])
    write('proc/meminfo', memoryInfo(100, 50))
    const starting = Array.from(
      { length: 20 },
      () => memory.next({ ownBytes: 0, areStarting: true }).foreignBytes,
    )
    expect(new Set(starting)).toEqual(new Set([20 * GIB]))
  })

  test('is exactly what the operator gives, whatever else runs', () => {
    const { root } = machine({ 'proc/meminfo': memoryInfo(100, 1) })
    expect(device(root, 90 * GIB).next(NOTHING)).toMatchObject({ totalBytes: 90 * GIB, foreignBytes: 0 })
  })

  test('is hot while processes wait for memory, until that has passed', () => {
    const { root, write } = machine({ 'proc/meminfo': memoryInfo(100, 90) })
    const memory = device(root)
    const health = [0, 29, 31, 12, 9].map((percent) => {
      write(
        'proc/pressure/memory',
        `some avg10=${percent}.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=99.00\n`,
      )
      return memory.next(NOTHING).health
    })
    expect(health).toEqual(['ok', 'ok', 'hot', 'hot', 'ok'])
  })
})

describe('the group of processes that we are in', () => {
  test('is the tightest one up to the root', () => {
    const { root } = machine({
      'proc/self/cgroup': '0::/system.slice/helixflow.service\n',
      'sys/fs/cgroup/system.slice/memory.max': `${20 * GIB}`,
      'sys/fs/cgroup/system.slice/memory.current': `${GIB}`,
      'sys/fs/cgroup/system.slice/helixflow.service/memory.max': `${8 * GIB}`,
      'sys/fs/cgroup/system.slice/helixflow.service/memory.current': `${2 * GIB}`,
      'sys/fs/cgroup/system.slice/helixflow.service/memory.pressure': 'some avg10=1.50 avg60=0\n',
    })
    expect(memoryGroup(root)).toEqual({ limitBytes: 8 * GIB, usedBytes: 2 * GIB, pressure: 1.5 })
  })

  test('is none where nothing is bounded', () => {
    const { root } = machine({
      'sys/fs/cgroup/memory.max': 'max',
      'sys/fs/cgroup/memory.current': '5',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712',
      'sys/fs/cgroup/memory/memory.usage_in_bytes': '5',
    })
    expect(memoryGroup(root)).toBeUndefined()
  })

  test.each([
    ['150000 100000', 2],
    ['max 100000', 8],
    ['1600000 100000', 8],
    ['10000 100000', 1],
  ])('with the quota %s has %i of eight cores', (quota, cores) => {
    const { root } = machine({ 'sys/fs/cgroup/cpu.max': quota })
    expect(coresOf(8, root)).toBe(cores)
  })

  test('has the least quota of processor time up to the root', () => {
    const { root } = machine({
      'proc/self/cgroup': '0::/system.slice/helixflow.service\n',
      'sys/fs/cgroup/system.slice/helixflow.service/cpu.max': '300000 100000',
      'sys/fs/cgroup/system.slice/cpu.max': '250000 100000',
    })
    expect(coresOf(16, root)).toBe(3)
  })

  test('of version 1 has a quota too', () => {
    const { root } = machine({
      'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '150000',
      'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000',
    })
    expect(coresOf(16, root)).toBe(2)
    expect(coresOf(16, machine({ 'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1' }).root)).toBe(16)
  })
})

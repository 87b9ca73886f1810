import { existsSync } from 'node:fs'
import { totalmem } from 'node:os'
import type { DeviceReport, DeviceShare } from '../../contracts/node.ts'
import { type Clock, delay } from '../../core/clock.ts'
import type { Logger } from '../../core/log.ts'
import { AmdDevices } from './amd-devices.ts'
import { amdBytesOf } from './amd-process-memory.ts'
import { appleDevice } from './apple-device.ts'
import { differsEnough } from './device-changes.ts'
import { expectRelease } from './device-release.ts'
import { MachineMemoryDevice } from './machine-memory-device.ts'
import { NvidiaDevices } from './nvidia-devices.ts'
import type { NvidiaReading } from './nvml-device.ts'
import { NvmlProbe } from './nvml-probe.ts'
import { type OwnEngine, OwnUse } from './own-use.ts'
import { memoryOf } from './process-memory.ts'
import { descendsFrom, treeOf } from './process-tree.ts'

export interface MachineDevicesOptions {
  readonly nodeId: string
  /** Of the machine's own memory, for models; undefined: most of it, less what others take. */
  readonly memoryLimit: number | undefined
  /** Path of NVIDIA's management library; undefined: where the driver puts it. */
  readonly nvmlLibrary: string | undefined
  /** Where /sys stands. */
  readonly sys?: string | undefined
  readonly clock: Clock
  readonly log: Logger
}

export interface EngineClaim {
  /** Of its first process; undefined until it is ready. */
  readonly pid: number | undefined
  readonly shares: readonly DeviceShare[]
}

export type DeviceListener = (devices: readonly DeviceReport[]) => void

const NVML_LIBRARY = 'libnvidia-ml.so.1'
/** One of them is there wherever a driver is, also in containers and in Linux under Windows. */
const NVIDIA_MARKS = ['/dev/nvidiactl', '/dev/dxg', '/proc/driver/nvidia']
const READ_INTERVAL_MS = 1_000
const TELL_INTERVAL_MS = 5_000
/** A lost card, or one that was added, is seen by a new process alone. */
const LOST_INTERVAL_MS = 60_000
/** Who asks first waits for a sick driver no longer than this; its cards are told when it answers. */
const FIRST_READING_MS = 10_000

/**
 * The devices of this machine, read every second from the first question on. Engines of ours are told to it, so that
 * what they take is not taken for somebody else's.
 */
export class MachineDevices {
  private readonly engines = new Map<string, OwnEngine>()
  private readonly listeners = new Set<DeviceListener>()
  private readonly own = new OwnUse(
    () => [...this.engines.values()],
    (pid) => descendsFrom(pid, process.pid),
  )
  private readonly nvidia = new NvidiaDevices()
  private readonly amd: AmdDevices
  private readonly probe: NvmlProbe
  private readonly memory: MachineMemoryDevice
  private readonly apple: DeviceReport | undefined
  private reading: Promise<readonly DeviceReport[]> | undefined
  private latest: readonly DeviceReport[] | undefined
  private latestNvidia: readonly NvidiaReading[] | undefined
  private readonly amdAddresses = new Map<string, string | undefined>()
  private told: { readonly devices: readonly DeviceReport[]; readonly atMs: number } | undefined
  private lostSinceMs: number | undefined
  private cancel: (() => void) | undefined
  private isClosed = false

  constructor(private readonly options: MachineDevicesOptions) {
    const { nodeId, memoryLimit, nvmlLibrary, clock, log } = options
    this.probe = new NvmlProbe({ library: nvmlLibrary ?? NVML_LIBRARY, clock, log })
    this.amd = new AmdDevices(nodeId, options.sys)
    const machine = { platform: process.platform, architecture: process.arch, memoryBytes: totalmem() }
    this.apple = appleDevice(nodeId, machine, memoryLimit)
    const unifiedBytes = this.apple?.totalBytes ?? 0
    this.memory = new MachineMemoryDevice({ nodeId, limitBytes: memoryLimit, unifiedBytes })
  }

  /** As they were within the last second. */
  async list(): Promise<readonly DeviceReport[]> {
    this.begin()
    return this.latest ?? (await this.read())
  }

  /** Calls back with all when one changed enough to matter, and every few seconds. Returns what ends it. */
  watch(listener: DeviceListener): () => void {
    this.listeners.add(listener)
    this.begin()
    void this.list().then((devices) => this.listeners.has(listener) && listener(devices))
    return () => this.listeners.delete(listener)
  }

  /** An engine is about to be started with these shares, is ready as this process, or was measured. */
  claim(instanceId: string, { pid, shares }: EngineClaim): void {
    this.engines.set(instanceId, { shares, pids: pid === undefined ? undefined : treeOf(pid) })
  }

  disclaim(instanceId: string): void {
    this.engines.delete(instanceId)
  }

  /** What the engine of that process takes of each device now; a device that cannot tell is left out. */
  async measure(pid: number, deviceIds: readonly string[]): Promise<readonly DeviceShare[]> {
    await this.list()
    const needsNvidia = deviceIds.some((id) => this.kindOf(id) === 'cuda')
    const readings = needsNvidia ? await this.readNvidia() : undefined
    const pids = treeOf(pid)
    return deviceIds.flatMap((deviceId) => {
      const bytes = this.measureOn(deviceId, pids, readings)
      return bytes === undefined ? [] : { deviceId, bytes }
    })
  }

  /**
   * To be called before the engine of that process is ended; what it returns waits, after that, until the cards say that
   * its memory is free. What does not become free is told to the log, and counts as foreign from then on.
   */
  expectRelease(pid: number, deviceIds: readonly string[]): () => Promise<void> {
    const { clock, log } = this.options
    const released = expectRelease({
      ...{ pid, deviceIds, clock, before: this.latestNvidia ?? [] },
      read: () => this.readNvidia(),
    })
    return async () => {
      const kept = await released()
      if (kept.length > 0) log.warn('memory of an ended engine is not free yet', { pid, devices: kept })
    }
  }

  /** Ends the reading, and the process that does it for NVIDIA. */
  close(): void {
    this.isClosed = true
    this.cancel?.()
    this.listeners.clear()
    this.probe.close()
  }

  private begin(): void {
    if (this.cancel || this.isClosed) return
    const again = () => {
      this.cancel = this.options.clock.schedule(READ_INTERVAL_MS, () => {
        const read = this.read().then(
          () => this.tell(),
          (reason) => this.options.log.warn('devices were not read', { cause: String(reason) }),
        )
        void read.then(() => this.isClosed || again())
      })
    }
    again()
  }

  private read(): Promise<readonly DeviceReport[]> {
    this.reading ??= this.readAll().finally(() => {
      this.reading = undefined
    })
    return this.reading
  }

  private async readAll(): Promise<readonly DeviceReport[]> {
    const hasNvidia = this.options.nvmlLibrary !== undefined || NVIDIA_MARKS.some((path) => existsSync(path))
    const readings = hasNvidia ? this.readNvidia() : undefined
    // Later readings may last: those of before stand meanwhile.
    const first = this.latest ? [] : [delay(this.options.clock, FIRST_READING_MS)]
    const nvidia = this.nvidia.next((await Promise.race([readings, ...first])) ?? undefined, this.own)
    this.readAnewWhereLost(nvidia)
    const amd = await this.amd.next((id, address) => {
      this.amdAddresses.set(id, address)
      return this.ownAmdBytes(id, address)
    })
    const areStarting = [...this.engines.values()].some(({ pids }) => pids === undefined)
    const memory = this.memory.next({ ownBytes: this.ownMemoryBytes(), areStarting })
    this.latest = [...nvidia, ...amd, ...(this.apple ? [this.apple] : []), memory]
    return this.latest
  }

  private async readNvidia(): Promise<readonly NvidiaReading[] | undefined> {
    this.latestNvidia = await this.probe.read()
    return this.latestNvidia
  }

  private readAnewWhereLost(devices: readonly DeviceReport[]): void {
    const nowMs = this.options.clock.monotonic()
    if (devices.every(({ health }) => health !== 'lost')) this.lostSinceMs = undefined
    else if (nowMs - (this.lostSinceMs ?? nowMs) < LOST_INTERVAL_MS) this.lostSinceMs ??= nowMs
    else {
      this.lostSinceMs = undefined
      this.probe.restart()
    }
  }

  private tell(): void {
    const nowMs = this.options.clock.monotonic()
    const devices = this.latest
    if (!devices || this.listeners.size === 0) return
    const isDue = !this.told || nowMs - this.told.atMs >= TELL_INTERVAL_MS
    if (!isDue && this.told && !differsEnough(this.told.devices, devices)) return
    this.told = { devices, atMs: nowMs }
    for (const listener of this.listeners) listener(devices)
  }

  private measureOn(
    deviceId: string,
    pids: readonly number[],
    readings: readonly NvidiaReading[] | undefined,
  ): number | undefined {
    switch (this.kindOf(deviceId)) {
      case 'cuda': {
        const processes = readings?.find(({ id }) => id === deviceId)?.processes ?? []
        return sum(processes.filter((process) => pids.includes(process.pid)).map(({ bytes }) => bytes))
      }
      case 'rocm':
        return sum(known(pids.map((pid) => amdBytesOf(pid, this.amdAddresses.get(deviceId)))))
      case 'cpu': {
        const memories = known(pids.map((pid) => memoryOf(pid)))
        if (memories.length === 0) return undefined
        const mapped = memories.map(({ mappedBytes }) => mappedBytes)
        // What several of them have mapped is mostly the same.
        return sum([...memories.map(({ ownBytes }) => ownBytes), Math.max(...mapped)])
      }
      default:
        return undefined
    }
  }

  private kindOf(deviceId: string): DeviceReport['kind'] | undefined {
    return this.latest?.find(({ id }) => id === deviceId)?.kind
  }

  private ownAmdBytes(deviceId: string, pciAddress: string | undefined): number {
    return [...this.engines.values()].reduce((total, { pids, shares }) => {
      const given = shares.find((share) => share.deviceId === deviceId)?.bytes ?? 0
      if (given === 0) return total
      return total + (sum(known((pids ?? []).map((pid) => amdBytesOf(pid, pciAddress)))) ?? given)
    }, 0)
  }

  private ownMemoryBytes(): number {
    const pids = [...this.engines.values()].flatMap((engine) => engine.pids ?? [])
    return pids.reduce((total, pid) => total + (memoryOf(pid)?.ownBytes ?? 0), 0)
  }
}

function known<T>(values: readonly (T | undefined)[]): readonly T[] {
  return values.filter((value) => value !== undefined)
}

/** Undefined when there is nothing to add up or some of it is unknown. */
function sum(values: readonly (number | undefined)[]): number | undefined {
  return values.reduce<number | undefined>(
    (total, value, index) =>
      value === undefined || (index > 0 && total === undefined) ? undefined : (total ?? 0) + value,
    undefined,
  )
}

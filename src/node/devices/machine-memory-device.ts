import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { join } from 'node:path'
import type { DeviceReport } from '../../contracts/node.ts'
import { shareForModels } from '../memory.ts'
import { isOver, SteadyBytes } from './hysteresis.ts'
import { memoryGroup, pressureIn } from './memory-group.ts'

export interface MachineMemoryOptions {
  readonly nodeId: string
  /** What the operator gives to models: then it is all theirs, whatever else runs. */
  readonly limitBytes: number | undefined
  /** Taken by a device that shares the machine's memory and is listed beside it. */
  readonly unifiedBytes: number
  /** Where /proc and /sys stand. */
  readonly root?: string | undefined
}

/** Our engines as they take the machine's own memory. */
export interface EnginesInMemory {
  /** What nothing else can have while they live; mapped weights count as free to the system, and so not here. */
  readonly ownBytes: number
  /** One is being started, whose memory nobody can tell yet. */
  readonly areStarting: boolean
}

/** Others' memory counts when it is taken for that many readings in a row: a build or a backup comes and goes. */
const FOREIGN_READINGS = 10
const FOREIGN_STEP_SHARE = 0.02
/** So much stays for models whatever runs: a browser's memory can be swapped out, and we cannot ask it to leave. */
const SHARE_LEFT = 0.5
/** Percent of the time in which some process waits for memory: far beyond what reading a large file causes. */
const PRESSURE = { enter: 30, leave: 10 }

/** The machine's own memory as a device, whatever else it has. */
export class MachineMemoryDevice {
  private readonly foreign: SteadyBytes
  private readonly root: string
  private isPressed = false

  constructor(private readonly options: MachineMemoryOptions) {
    this.root = options.root ?? '/'
    this.foreign = new SteadyBytes(FOREIGN_READINGS, Math.round(FOREIGN_STEP_SHARE * this.totalBytes()))
  }

  next(engines: EnginesInMemory): DeviceReport {
    const { nodeId, limitBytes } = this.options
    const totalBytes = this.totalBytes()
    const free = this.free()
    const foreignBytes = limitBytes === undefined && free ? this.foreignBytes(totalBytes, free, engines) : 0
    const pressure = memoryGroup(this.root)?.pressure ?? pressureIn(this.read('proc/pressure/memory'))
    this.isPressed = isOver(this.isPressed, pressure, PRESSURE)
    const why = `processes wait for memory ${Math.round(pressure ?? 0)} % of the time`
    return {
      ...{ id: `${nodeId}/cpu`, kind: 'cpu', name: 'CPU', totalBytes, foreignBytes },
      ...{ usedBytes: free && free.machineBytes - free.availableBytes },
      ...{ health: this.isPressed ? 'hot' : 'ok', reason: this.isPressed ? why : undefined },
      ...{ clique: undefined, utilization: undefined, temperatureCelsius: undefined, powerWatts: undefined },
    }
  }

  /** What others leave of `totalBytes`; that it is a part of the machine's memory keeps something free already. */
  private foreignBytes(totalBytes: number, { availableBytes }: FreeMemory, engines: EnginesInMemory): number {
    const missing = Math.max(0, totalBytes - (availableBytes + engines.ownBytes))
    const most = Math.floor((1 - SHARE_LEFT) * totalBytes)
    const bytes = Math.min(missing, most)
    return engines.areStarting ? this.foreign.nextUnsure(bytes) : this.foreign.next(bytes)
  }

  private totalBytes(): number {
    const { limitBytes, unifiedBytes } = this.options
    return Math.max(0, (limitBytes ?? shareForModels(this.machineBytes())) - unifiedBytes)
  }

  private machineBytes(): number {
    return Math.min(this.memoryInfo('MemTotal') ?? totalmem(), memoryGroup(this.root)?.limitBytes ?? Infinity)
  }

  /** Undefined where the system does not say what could be had: free memory alone says nothing on a machine in use. */
  private free(): FreeMemory | undefined {
    const machine = this.memoryInfo('MemAvailable')
    if (machine === undefined) return undefined
    const group = memoryGroup(this.root)
    const inGroup = group ? Math.max(0, group.limitBytes - group.usedBytes) : Infinity
    return { machineBytes: this.machineBytes(), availableBytes: Math.min(machine, inGroup) }
  }

  private memoryInfo(name: string): number | undefined {
    const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(this.read('proc/meminfo') ?? '')?.[1]
    return kib === undefined ? undefined : 1024 * Number(kib)
  }

  private read(path: string): string | undefined {
    try {
      return readFileSync(join(this.root, path), 'utf8')
    } catch {
      return undefined
    }
  }
}

interface FreeMemory {
  readonly machineBytes: number
  readonly availableBytes: number
}

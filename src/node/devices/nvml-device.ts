import type { Nvml } from './nvml.ts'

/** One process on a card; what it takes is undefined where the driver does not tell (Windows). */
export interface NvidiaProcess {
  readonly pid: number
  readonly bytes?: number | undefined
}

/** One card, or one MIG instance of a card, as the driver described it just now. */
export interface NvidiaReading {
  readonly id: string
  readonly name: string
  /** Why nothing else is known of it. */
  readonly lostBecause?: string | undefined
  /** Without what the driver keeps for itself. */
  readonly totalBytes?: number | undefined
  readonly usedBytes?: number | undefined
  /** Undefined where the driver has no list. */
  readonly processes?: readonly NvidiaProcess[] | undefined
  readonly utilization?: number | undefined
  readonly temperatureCelsius?: number | undefined
  /** Where the card begins to slow itself down. */
  readonly slowdownCelsius?: number | undefined
  /** The hardware slows the card down, for heat or for want of power. */
  readonly isSlowed?: boolean | undefined
  readonly powerWatts?: number | undefined
  readonly clique?: string | undefined
}

const DEVICE = 'uintptr_t device'
/** NVML_DEVICE_UUID_V2_BUFFER_SIZE and NVML_DEVICE_NAME_V2_BUFFER_SIZE. */
const TEXT_BYTES = 96
/** struct {u32 version; u64 total, reserved, free, used}, whose version holds its size. */
const MEMORY_BYTES = 40
const MEMORY_VERSION = MEMORY_BYTES | (2 << 24)
/** struct {u32 pid; u64 usedGpuMemory; u32 gpuInstanceId, computeInstanceId}. */
const PROCESS_BYTES = 24
const NOT_AVAILABLE = 0xffff_ffff_ffff_ffffn
/** More than come between asking how many there are and asking for them. */
const SPARE_PROCESSES = 8
const TEMPERATURE_GPU = 0
const THRESHOLD_SLOWDOWN = 1
/** nvmlClocksEventReasonHwThermalSlowdown and nvmlClocksEventReasonHwPowerBrakeSlowdown. */
const HARDWARE_SLOWDOWN = 0x40n | 0x80n

/** A card behind its handle. Whatever it does not tell is undefined; that it is lost is remembered. */
export class NvmlDevice {
  readonly id: string
  readonly name: string
  private lostBecause: string | undefined

  constructor(
    private readonly nvml: Nvml,
    readonly handle: bigint,
    /** The whole card of a MIG instance, which alone has a temperature. */
    private readonly card: NvmlDevice | undefined,
  ) {
    this.id = this.text('nvmlDeviceGetUUID') ?? `nvidia-${handle}`
    this.name = this.text('nvmlDeviceGetName') ?? 'NVIDIA GPU'
  }

  read(clique: string | undefined): NvidiaReading {
    const card = this.card ?? this
    // Memory before its processes: what is being allocated now is then ours rather than somebody else's.
    const memory = this.memory()
    const reading = {
      ...{ id: this.id, name: this.name, ...memory, processes: this.processes() },
      utilization: this.card ? undefined : this.utilization(),
      temperatureCelsius: card.temperature(),
      slowdownCelsius: card.u32('nvmlDeviceGetTemperatureThreshold', THRESHOLD_SLOWDOWN),
      isSlowed: card.isSlowed(),
      powerWatts: card.power(),
      clique,
    }
    return { ...reading, lostBecause: this.lostBecause ?? card.lostBecause }
  }

  /** Something else than a call has told that it is lost. */
  fail(reason: string): void {
    this.lostBecause ??= reason
  }

  /** Handles of its MIG instances; none where it is not divided. */
  instances(): readonly NvmlDevice[] {
    const mode = Buffer.alloc(8)
    const [current, pending] = [mode.subarray(0, 4), mode.subarray(4)]
    if (!this.ask('nvmlDeviceGetMigMode', 'void *current, void *pending', current, pending)) return []
    if (current.readUInt32LE() === 0) return []
    const countMax = this.u32('nvmlDeviceGetMaxMigDeviceCount') ?? 0
    return Array.from({ length: countMax }, (_, index) => {
      const handle = Buffer.alloc(8)
      const found = this.ask('nvmlDeviceGetMigDeviceHandleByIndex', 'uint32_t i, void *h', index, handle)
      return found ? [new NvmlDevice(this.nvml, handle.readBigUInt64LE(), this)] : []
    }).flat()
  }

  private memory(): Pick<NvidiaReading, 'totalBytes' | 'usedBytes'> {
    const memory = Buffer.alloc(MEMORY_BYTES)
    memory.writeUInt32LE(MEMORY_VERSION)
    const at = (offset: number) => Number(memory.readBigUInt64LE(offset))
    if (this.ask('nvmlDeviceGetMemoryInfo_v2', 'void *memory', memory)) {
      return { totalBytes: at(8) - at(16), usedBytes: at(32) }
    }
    // Drivers before 510: {u64 total, free, used}, where what the driver keeps counts as used.
    if (this.ask('nvmlDeviceGetMemoryInfo', 'void *memory', memory)) {
      return { totalBytes: at(0), usedBytes: at(16) }
    }
    return { totalBytes: undefined, usedBytes: undefined }
  }

  private processes(): readonly NvidiaProcess[] | undefined {
    for (const name of [
      'nvmlDeviceGetComputeRunningProcesses_v3',
      'nvmlDeviceGetComputeRunningProcesses_v2',
    ]) {
      const count = Buffer.alloc(4)
      const parameters = `${DEVICE}, void *count, void *processes`
      const answer = this.nvml.ask(name, parameters, this.handle, count, null)
      if (answer === 'ok') return []
      if (answer !== 'larger') continue
      const capacity = count.readUInt32LE() + SPARE_PROCESSES
      count.writeUInt32LE(capacity)
      const list = Buffer.alloc(capacity * PROCESS_BYTES)
      if (this.nvml.ask(name, parameters, this.handle, count, list) !== 'ok') return undefined
      return Array.from({ length: count.readUInt32LE() }, (_, index) =>
        processAt(list, index * PROCESS_BYTES),
      )
    }
    return undefined
  }

  private utilization(): number | undefined {
    // struct {u32 gpu, memory}, in percent of the time.
    const rates = Buffer.alloc(8)
    return this.ask('nvmlDeviceGetUtilizationRates', 'void *rates', rates)
      ? rates.readUInt32LE() / 100
      : undefined
  }

  private temperature(): number | undefined {
    return this.u32('nvmlDeviceGetTemperature', TEMPERATURE_GPU)
  }

  private power(): number | undefined {
    const milliwatts = this.u32('nvmlDeviceGetPowerUsage')
    return milliwatts === undefined ? undefined : milliwatts / 1000
  }

  private isSlowed(): boolean | undefined {
    const reasons = Buffer.alloc(8)
    const known =
      this.ask('nvmlDeviceGetCurrentClocksEventReasons', 'void *reasons', reasons) ||
      this.ask('nvmlDeviceGetCurrentClocksThrottleReasons', 'void *reasons', reasons)
    return known ? (reasons.readBigUInt64LE() & HARDWARE_SLOWDOWN) !== 0n : undefined
  }

  private u32(name: string, ...which: number[]): number | undefined {
    const value = Buffer.alloc(4)
    const parameters = [...which.map((_, index) => `int which${index}`), 'void *value'].join(', ')
    return this.ask(name, parameters, ...which, value) ? value.readUInt32LE() : undefined
  }

  private text(name: string): string | undefined {
    const text = Buffer.alloc(TEXT_BYTES)
    if (!this.ask(name, 'void *text, uint32_t length', text, TEXT_BYTES)) return undefined
    return text.toString('utf8', 0, Math.max(0, text.indexOf(0)))
  }

  private ask(name: string, parameters: string, ...values: (number | Buffer)[]): boolean {
    const answer = this.nvml.ask(name, `${DEVICE}, ${parameters}`, this.handle, ...values)
    if (answer === 'lost') this.fail('the driver says that the card is lost')
    return answer === 'ok'
  }
}

function processAt(list: Buffer, offset: number): NvidiaProcess {
  const bytes = list.readBigUInt64LE(offset + 8)
  return { pid: list.readUInt32LE(offset), bytes: bytes === NOT_AVAILABLE ? undefined : Number(bytes) }
}

import type { ClusterState, Device } from '../scheduler/state.ts'

/** Shares of memory, weighted by how long they lasted. */
export interface MemoryUse {
  /** What instances held, of all that there is. */
  readonly usedShare: number
  /** 1 - the largest free piece on one device / all that is free. */
  readonly fragmentation: number
  /** Times a model had to wait although all that was free together would have been enough. */
  readonly failedPlacements: number
}

/** Watches the state from decision to decision; between two of them it does not change. */
export class MemoryMeter {
  private readonly capacityBytes: number
  private readonly stranded = new Set<string>()
  private lastMs = 0
  private used = 0
  private fragmented = 0
  private usedTotal = 0
  private fragmentedTotal = 0

  constructor(private readonly devices: readonly Device[]) {
    this.capacityBytes = devices.reduce((sum, device) => sum + device.totalBytes - device.foreignBytes, 0)
  }

  look(state: ClusterState, nowMs: number): void {
    this.advance(nowMs)
    const free = new Map(
      this.devices.map(({ id, totalBytes, foreignBytes }) => [id, totalBytes - foreignBytes]),
    )
    for (const { shares } of state.instances) {
      for (const { deviceId, bytes } of shares) free.set(deviceId, (free.get(deviceId) ?? 0) - bytes)
    }
    let [freeBytes, largestBytes] = [0, 0]
    for (const bytes of free.values()) {
      freeBytes += bytes
      largestBytes = Math.max(largestBytes, bytes)
    }
    this.used = 1 - freeBytes / this.capacityBytes
    this.fragmented = freeBytes > 0 ? 1 - largestBytes / freeBytes : 0
    for (const { spec, sinceMs, notBeforeMs } of state.waiting) {
      const short = spec.memoryBytes > largestBytes && spec.memoryBytes <= freeBytes
      if (short && notBeforeMs <= nowMs) this.stranded.add(`${spec.name} ${sinceMs}`)
    }
  }

  total(nowMs: number): MemoryUse {
    this.advance(nowMs)
    const durationMs = Math.max(1, nowMs)
    return {
      usedShare: this.usedTotal / durationMs,
      fragmentation: this.fragmentedTotal / durationMs,
      failedPlacements: this.stranded.size,
    }
  }

  private advance(nowMs: number): void {
    this.usedTotal += this.used * (nowMs - this.lastMs)
    this.fragmentedTotal += this.fragmented * (nowMs - this.lastMs)
    this.lastMs = nowMs
  }
}

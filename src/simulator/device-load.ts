/** An engine that computes on devices that it may share with others. */
export interface Resident {
  readonly deviceIds: readonly string[]
  /** Others began or stopped computing beside it. */
  neighboursChanged(): void
}

/**
 * Who computes on which device. Engines on one device take turns: measured on a card, two processes together make as
 * many tokens as one. So each of n is n times slower.
 */
export class DeviceLoad {
  private readonly computing = new Map<string, Set<Resident>>()
  private readonly busySinceMs = new Map<string, number>()
  private readonly totals = new Map<string, number>()

  constructor(deviceIds: readonly string[]) {
    for (const id of deviceIds) {
      this.computing.set(id, new Set())
      this.totals.set(id, 0)
    }
  }

  /** How many times slower it is than alone: as much as on its most crowded device. */
  slowdown({ deviceIds }: Resident): number {
    return Math.max(1, ...deviceIds.map((id) => this.computing.get(id)?.size ?? 1))
  }

  begin(resident: Resident, nowMs: number): void {
    this.change(resident, (there, id) => {
      if (there.size === 0) this.busySinceMs.set(id, nowMs)
      there.add(resident)
    })
  }

  end(resident: Resident, nowMs: number): void {
    this.change(resident, (there, id) => {
      if (there.delete(resident) && there.size === 0) this.settle(id, nowMs)
    })
  }

  /** Milliseconds that each device has been computing for. */
  busyMs(nowMs: number): ReadonlyMap<string, number> {
    for (const [id, there] of this.computing) {
      if (there.size === 0) continue
      this.settle(id, nowMs)
      this.busySinceMs.set(id, nowMs)
    }
    return new Map(this.totals)
  }

  private change(resident: Resident, apply: (there: Set<Resident>, id: string) => void): void {
    const neighbours = new Set<Resident>()
    for (const id of resident.deviceIds) {
      const there = this.computing.get(id)
      if (!there) continue
      apply(there, id)
      for (const other of there) if (other !== resident) neighbours.add(other)
    }
    for (const other of neighbours) other.neighboursChanged()
  }

  private settle(id: string, nowMs: number): void {
    const sinceMs = this.busySinceMs.get(id) ?? nowMs
    this.totals.set(id, (this.totals.get(id) ?? 0) + nowMs - sinceMs)
  }
}

import type { DeviceShare } from '../../contracts/node.ts'
import type { NvidiaProcess } from './nvml-device.ts'

/** An engine of ours, from the moment when it is about to be started until it is gone. */
export interface OwnEngine {
  /** Of its processes; undefined until it is ready. */
  readonly pids: readonly number[] | undefined
  /** What it was given, or what it was measured to take. */
  readonly shares: readonly DeviceShare[]
}

/**
 * Which part of a device's memory is ours. Where the driver lists our processes, what it says; where it lists none of
 * them (no list, or ids of another namespace than ours, as in a container), what the engines were given.
 */
export class OwnUse {
  private listsOurs = false

  constructor(
    private readonly engines: () => readonly OwnEngine[],
    /** Whether the process is one that we started, at whatever remove. */
    private readonly isOurs: (pid: number) => boolean,
  ) {}

  on(deviceId: string, processes: readonly NvidiaProcess[] | undefined): number {
    const ours = (processes ?? []).filter(({ pid }) => this.isOurs(pid))
    // A process that was seen once proves that the list shows ours; from then on it is believed without them too.
    if (ours.length > 0) this.listsOurs = true
    const listed = ours.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0)
    if (this.listsOurs && processes && ours.every(({ bytes }) => bytes !== undefined)) return listed
    return Math.max(listed, this.given(deviceId))
  }

  private given(deviceId: string): number {
    const shares = this.engines().flatMap((engine) => engine.shares)
    return shares.reduce((sum, share) => sum + (share.deviceId === deviceId ? share.bytes : 0), 0)
  }
}

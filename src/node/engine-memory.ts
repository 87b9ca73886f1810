import type {
  DeviceReport,
  DeviceShare,
  InstanceShape,
  MemoryNeed,
  RunningEngineView,
  StartRequest,
} from '../contracts/node.ts'
import type { LocalEngineKind } from '../contracts/pool.ts'
import type { MachineDevices } from './devices/machine-devices.ts'
import { type FootprintKey, type Footprints, memoryKindOf } from './footprints.ts'

/** An engine that has just become ready. */
export interface ReadyEngine {
  readonly kind: LocalEngineKind
  readonly pid: number
  /** Of the file that it loaded. */
  readonly revision: string
  /** What each of its devices was reckoned to hold whole. */
  readonly perDeviceBytes: number
}

/** What engines take of the devices, from before they start until their memory is free: given, measured, remembered. */
export class EngineMemory {
  constructor(
    private readonly devices: MachineDevices,
    private readonly footprints: Footprints,
  ) {}

  /** What an instance will need: what the same one took before, else the reckoning, each with its margin. */
  async need(revision: string, shape: InstanceShape, reckoned: MemoryNeed): Promise<MemoryNeed> {
    const kind = memoryKindOf((await this.devices.list()).map((device) => device.kind))
    return this.footprints.need({ revision, shape, kind }, reckoned)
  }

  /** It is about to be started: what it takes from now on is ours. */
  expect({ instanceId, shares }: StartRequest): void {
    this.devices.claim(instanceId, { pid: undefined, shares })
  }

  /** What the engine that is ready takes; undefined when none of its devices tells. */
  async measure(request: StartRequest, engine: ReadyEngine): Promise<readonly DeviceShare[] | undefined> {
    const { instanceId } = request
    this.devices.claim(instanceId, { pid: engine.pid, shares: request.shares })
    const deviceIds = request.shares.map(({ deviceId }) => deviceId)
    const measured = await this.devices.measure(engine.pid, deviceIds)
    const kindOf = await this.kinds()
    if (measured.length === 0) return undefined
    const shares = request.shares.map((given) => {
      const taken = measured.find(({ deviceId }) => deviceId === given.deviceId) ?? given
      // The machine's memory is taken when it is first touched, by the first full batch and context: what was reckoned
      // stays the engine's until then. A card's is taken whole while loading.
      return kindOf(given.deviceId) === 'cpu' && taken.bytes < given.bytes ? given : taken
    })
    this.devices.claim(instanceId, { pid: engine.pid, shares })
    // vLLM and SGLang take what they are given: remembered, it would grow by the margin with each start.
    if (engine.kind === 'llama-server' && measured.length === deviceIds.length) {
      const key = keyOf(request, engine.revision, deviceIds.map(kindOf))
      this.footprints.remember(key, measured, engine.perDeviceBytes)
    }
    return shares
  }

  /**
   * To be called before a ready engine is ended. What it returns waits, after that, until its memory is free. It is measured
   * once more, for what it has touched of the machine's memory since it started.
   */
  async ending({ request, engine }: RunningEngineView, pid: number): Promise<() => Promise<void>> {
    const deviceIds = request.shares.map(({ deviceId }) => deviceId)
    const kinds = deviceIds.map(await this.kinds())
    if (engine.engine === 'llama-server' && kinds.every((kind) => kind === 'cpu')) {
      const measured = await this.devices.measure(pid, deviceIds)
      this.footprints.remember(keyOf(request, engine.revision, kinds), measured, 0)
    }
    return this.devices.expectRelease(pid, deviceIds)
  }

  /** The engine is gone, or never came. */
  forget(instanceId: string): void {
    this.devices.disclaim(instanceId)
  }

  /** Ends the watch over the devices; resolves when what was measured is on record. */
  async close(): Promise<void> {
    this.devices.close()
    await this.footprints.settled()
  }

  private async kinds(): Promise<(deviceId: string) => DeviceReport['kind'] | undefined> {
    const reports = await this.devices.list()
    return (deviceId) => reports.find(({ id }) => id === deviceId)?.kind
  }
}

function keyOf(
  { shape }: StartRequest,
  revision: string,
  kinds: readonly (DeviceReport['kind'] | undefined)[],
): FootprintKey {
  return { revision, shape, kind: memoryKindOf(kinds) }
}

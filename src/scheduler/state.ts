/**
 * All that the scheduler knows. Values only: every decision is a function of this state, an event and the time,
 * so that the code that runs live is the code that a replay measures.
 */
export interface ClusterState {
  readonly devices: readonly Device[]
  readonly instances: readonly Instance[]
  /** Models that somebody waits for and that have no instance yet, oldest first. */
  readonly waiting: readonly WaitingModel[]
  /** Times of recent crashes by model, oldest first. */
  readonly crashes: Readonly<Record<string, readonly number[]>>
  /** Number of the next instance; ids are made here so that a replay gives the same ones. */
  readonly nextInstance: number
}

/** Memory that models can be placed in. */
export interface Device {
  readonly id: string
  readonly totalBytes: number
}

export interface ModelSpec {
  readonly name: string
  /** What one instance needs while it runs. */
  readonly memoryBytes: number
  readonly keepAliveMs: number
}

export interface Instance {
  readonly id: string
  readonly spec: ModelSpec
  readonly deviceId: string
  /**
   * loading -> ready -> draining -> unloading -> gone. Draining takes no new requests; unloading has none left
   * and holds its memory until the process is gone.
   */
  readonly state: 'loading' | 'ready' | 'draining' | 'unloading'
  readonly inFlight: number
  readonly lastUsedMs: number
  /** When the present state must have ended; undefined for ready and draining, which requests end. */
  readonly deadlineMs: number | undefined
}

export interface WaitingModel {
  readonly spec: ModelSpec
  readonly sinceMs: number
  /** Not loaded before this time: the pause after a crash. */
  readonly notBeforeMs: number
}

export function emptyCluster(devices: readonly Device[]): ClusterState {
  return { devices, instances: [], waiting: [], crashes: {}, nextInstance: 1 }
}

/** Bytes of a device that no instance holds. An instance holds its bytes from `loading` until it is gone. */
export function freeBytes(state: ClusterState, device: Device): number {
  const held = state.instances.filter((instance) => instance.deviceId === device.id)
  return device.totalBytes - held.reduce((sum, instance) => sum + instance.spec.memoryBytes, 0)
}

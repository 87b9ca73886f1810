import type { ClusterState, Device, Instance, ModelSpec, Share } from './state.ts'

/** A state with what every decision about places needs to know of it, computed once. */
export interface ClusterView {
  readonly state: ClusterState
  readonly nowMs: number
  /** Bytes of each device that no instance holds; below zero where foreign processes took what was ours. */
  readonly freeBytes: ReadonlyMap<string, number>
  readonly devices: ReadonlyMap<string, Device>
  /** What lies on each device, in whole or in part. */
  readonly instancesOn: ReadonlyMap<string, readonly Instance[]>
}

/** An instance holds its bytes from `loading` until it is gone. */
export function viewOf(state: ClusterState, nowMs: number): ClusterView {
  const freeBytes = new Map<string, number>()
  const devices = new Map<string, Device>()
  const instancesOn = new Map<string, Instance[]>()
  for (const device of state.devices) {
    devices.set(device.id, device)
    freeBytes.set(device.id, device.totalBytes - device.foreignBytes)
    instancesOn.set(device.id, [])
  }
  for (const instance of state.instances) {
    for (const { deviceId, bytes } of instance.shares) {
      const free = freeBytes.get(deviceId)
      if (free === undefined) continue
      freeBytes.set(deviceId, free - bytes)
      instancesOn.get(deviceId)?.push(instance)
    }
  }
  return { state, nowMs, freeBytes, devices, instancesOn }
}

/** The view in which those bytes are taken too. */
export function withTaken(view: ClusterView, shares: readonly Share[]): ClusterView {
  const freeBytes = new Map(view.freeBytes)
  for (const { deviceId, bytes } of shares) freeBytes.set(deviceId, (freeBytes.get(deviceId) ?? 0) - bytes)
  return { ...view, freeBytes }
}

/** Whether the model's settings and its file let it be on that device, now or once there is room. */
export function isAllowedOn(spec: ModelSpec, device: Device): boolean {
  if (device.health === 'lost' || device.group !== spec.group || !spec.nodes.includes(device.nodeId))
    return false
  const { onlyOn } = spec
  return onlyOn === undefined || [device.id, device.nodeId, device.kind].some((name) => onlyOn.includes(name))
}

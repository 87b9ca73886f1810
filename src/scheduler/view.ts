import { layoutOf } from './layout.ts'
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
  const { freeBytes, devices, instancesOn } = layoutOf(state)
  return { state, nowMs, freeBytes, devices, instancesOn }
}

/** The view in which those bytes are taken too. */
export function withTaken(view: ClusterView, shares: readonly Share[]): ClusterView {
  const freeBytes = new Map(view.freeBytes)
  for (const { deviceId, bytes } of shares) freeBytes.set(deviceId, (freeBytes.get(deviceId) ?? 0) - bytes)
  return { ...view, freeBytes }
}

/** The devices that are not lost on which the model may be, in their order. */
export function allowedDevices(devices: readonly Device[], spec: ModelSpec): readonly Device[] {
  const { group, onlyOn } = spec
  const allowed: Device[] = []
  let lastNodeId: string | undefined
  let holdsFile = false
  for (const device of devices) {
    if (device.health === 'lost' || device.group !== group) continue
    // Those of a node stand together, and nodes may be many.
    if (device.nodeId !== lastNodeId) {
      lastNodeId = device.nodeId
      holdsFile = spec.nodes.includes(device.nodeId)
    }
    if (holdsFile && (onlyOn === undefined || isNamed(device, onlyOn))) allowed.push(device)
  }
  return allowed
}

/** Whether the model's settings and its file let it be on that device, now or once there is room. */
export function isAllowedOn(spec: ModelSpec, device: Device): boolean {
  if (device.health === 'lost' || device.group !== spec.group || !spec.nodes.includes(device.nodeId))
    return false
  return spec.onlyOn === undefined || isNamed(device, spec.onlyOn)
}

function isNamed({ id, nodeId, kind }: Device, names: readonly string[]): boolean {
  return names.includes(id) || names.includes(nodeId) || names.includes(kind)
}

import { type ClusterState, type Device, freeBytes, type Instance } from './state.ts'

/**
 * The instances to unload so that `neededBytes` come free on one device: idle ones first, least recently used
 * first, and only as many as needed. Empty when even all of them would not do, or when enough is already on its
 * way out.
 */
export function chooseVictims(state: ClusterState, neededBytes: number): readonly Instance[] {
  const plans = state.devices
    .map((device) => planFor(state, device, neededBytes))
    .filter((plan): plan is readonly Instance[] => plan !== undefined)
  return plans.sort((a, b) => busyCount(a) - busyCount(b) || a.length - b.length)[0] ?? []
}

function planFor(state: ClusterState, device: Device, neededBytes: number): readonly Instance[] | undefined {
  const here = state.instances.filter((instance) => instance.deviceId === device.id)
  const leaving = here.filter((instance) => instance.state === 'draining' || instance.state === 'unloading')
  let missing = neededBytes - freeBytes(state, device) - bytesOf(leaving)
  if (missing <= 0) return []
  const victims: Instance[] = []
  for (const candidate of here.filter((instance) => instance.state === 'ready').sort(leastMissedFirst)) {
    victims.push(candidate)
    missing -= candidate.spec.memoryBytes
    if (missing <= 0) return victims
  }
  return undefined
}

function leastMissedFirst(a: Instance, b: Instance): number {
  return Number(a.inFlight > 0) - Number(b.inFlight > 0) || a.lastUsedMs - b.lastUsedMs
}

function busyCount(instances: readonly Instance[]): number {
  return instances.filter((instance) => instance.inFlight > 0).length
}

function bytesOf(instances: readonly Instance[]): number {
  return instances.reduce((sum, instance) => sum + instance.spec.memoryBytes, 0)
}

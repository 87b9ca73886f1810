import type { EvictionPolicy } from './policy.ts'
import { type Instance, type ModelSpec, type Share, shareBytes } from './state.ts'
import { type ClusterView, isAllowedOn } from './view.ts'

/** What to unload so that a model fits, and where it will. */
export interface EvictionPlan {
  readonly nodeId: string
  readonly shares: readonly Share[]
  /** Those that are still to be told to go; empty when enough is on its way out. */
  readonly victims: readonly Instance[]
  readonly because: string
}

/**
 * The instances to unload so that the model fits somewhere: those of least worth, and only as many as needed.
 * Undefined when nothing that may go would do. One with requests goes only for a model that waited `swapWaitMs`,
 * one that became ready less than `residencyMinMs` ago only likewise; a pinned one never.
 * @param waitedMs how long the model has waited
 */
export function chooseVictims(
  view: ClusterView,
  spec: ModelSpec,
  policy: EvictionPolicy,
  waitedMs: number,
): EvictionPlan | undefined {
  const plans = view.state.devices
    .filter((device) => device.health === 'ok' && isAllowedOn(spec, device))
    .map((device): EvictionPlan | undefined => {
      const victims = victimsOn(view, device.id, spec, { policy, waitedMs })
      const shares = [{ deviceId: device.id, bytes: shareBytes(spec, 1) }]
      return victims && { nodeId: device.nodeId, shares, victims, because: 'least worth first' }
    })
    .filter((plan) => plan !== undefined)
  return plans.sort((a, b) => busyCount(a) - busyCount(b) || a.victims.length - b.victims.length)[0]
}

/** What keeping an instance is worth as of a use at this time: GDSF's H. */
export function worthOf(evictionLevel: number, spec: ModelSpec, requestsPerHour: number): number {
  return evictionLevel + (requestsPerHour * spec.loadMs) / Math.max(1, spec.memoryBytes)
}

/** Idle instances to unload where foreign processes took memory that models lie in, those of least worth first. */
export function relieve(view: ClusterView, _policy: EvictionPolicy): readonly Instance[] {
  const going: Instance[] = []
  for (const [deviceId, freeBytes] of view.freeBytes) {
    let missing = -freeBytes
    const idle = (view.instancesOn.get(deviceId) ?? []).filter(
      ({ state, inFlight, spec }) => state === 'ready' && inFlight === 0 && !spec.pinned,
    )
    for (const instance of idle.sort((a, b) => a.worth - b.worth)) {
      if (missing <= 0) break
      going.push(instance)
      missing -= instance.shares.find((share) => share.deviceId === deviceId)?.bytes ?? 0
    }
  }
  return going
}

function victimsOn(
  view: ClusterView,
  deviceId: string,
  spec: ModelSpec,
  { policy, waitedMs }: { readonly policy: EvictionPolicy; readonly waitedMs: number },
): readonly Instance[] | undefined {
  const here = view.instancesOn.get(deviceId) ?? []
  const bytesHere = ({ shares }: Instance) => shares.find((share) => share.deviceId === deviceId)?.bytes ?? 0
  let missing = spec.memoryBytes - (view.freeBytes.get(deviceId) ?? 0)
  for (const instance of here) {
    if (instance.state === 'draining' || instance.state === 'unloading') missing -= bytesHere(instance)
  }
  if (missing <= 0) return []
  const victims: Instance[] = []
  const mayGo = ({ state, spec: { pinned }, inFlight }: Instance) =>
    state === 'ready' && !pinned && (inFlight === 0 || waitedMs >= policy.swapWaitMs)
  const order = (a: Instance, b: Instance) =>
    Number(a.inFlight > 0) - Number(b.inFlight > 0) ||
    (policy.by === 'gdsf' ? a.worth - b.worth : 0) ||
    a.lastUsedMs - b.lastUsedMs
  for (const candidate of here.filter(mayGo).sort(order)) {
    victims.push(candidate)
    missing -= bytesHere(candidate)
    if (missing <= 0) return victims
  }
  return undefined
}

function busyCount({ victims }: EvictionPlan): number {
  return victims.filter((instance) => instance.inFlight > 0).length
}

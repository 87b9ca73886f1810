import { strandedSecondsOf } from '../fragmentation.ts'
import { loadMsOn, type ModelSpec } from '../state.ts'
import type { ClusterView } from '../view.ts'
import { type PlacementStrategy, place } from './placement.ts'

/*
 * What each thing is worth in seconds, beside the load of some seconds that is saved or wasted. They are judgements,
 * not measurements: large enough to decide between equals, small enough never to outweigh a load from a slow disk.
 */

/** An engine that computes on the same device makes ours wait for its turns: a prefill lasts some tenths of a second. */
const QUEUEING_SECONDS = 0.5
/** And each request that it is answering gets its tokens later from then on. */
const INTERFERENCE_SECONDS = 0.1
/** A replica beside its sibling adds slots but no computing, and one failure of the device takes both. */
const SAME_DEVICE_SECONDS = 5
/** On one node they share what feeds them, and the node's failure. */
const SAME_NODE_SECONDS = 1

/**
 * Where it costs the fewest seconds: of loading, of waiting for engines that are busy there and of holding them up, of
 * loads that will be needed because the place cuts up room for other models, and of keeping replicas together.
 */
export const auto: PlacementStrategy = (view, spec) => {
  const siblingNodes = nodesWith(view, spec)
  const loadSeconds = loadSecondsByNode(view, spec)
  const stranded = strandedSecondsOf(view.state)
  return place(view, spec, {
    parts: ['load', 'queueing', 'interference', 'fragmentation', 'spread'],
    inSeconds: true,
    against: (device, bytes, count) => {
      const { engines, requests, siblings } = busyOn(view, device.id, spec)
      const sameNode = siblingNodes.has(device.nodeId) ? SAME_NODE_SECONDS / count : 0
      return [
        loadSeconds(device.nodeId) / count,
        engines * QUEUEING_SECONDS,
        requests * INTERFERENCE_SECONDS,
        stranded(device, view.freeBytes.get(device.id) ?? 0, bytes),
        sameNode + siblings * SAME_DEVICE_SECONDS,
      ]
    },
    because: (parts) => `fewest seconds, ${parts.reduce((sum, part) => sum + part, 0).toFixed(1)}`,
  })
}

/** One that loads because it is asked for will be busy as soon as it is ready. */
function busyOn(view: ClusterView, deviceId: string, spec: ModelSpec) {
  let engines = 0
  let requests = 0
  let siblings = 0
  for (const { state, purpose, inFlight, spec: other } of view.instancesOn.get(deviceId) ?? []) {
    if (inFlight > 0 || (state === 'loading' && purpose === 'demand')) engines++
    requests += inFlight
    if (other.name === spec.name) siblings++
  }
  return { engines, requests, siblings }
}

function nodesWith({ state }: ClusterView, { name }: ModelSpec): ReadonlySet<string> {
  const nodes = new Set<string>()
  for (const { spec, nodeId } of state.instances) if (spec.name === name) nodes.add(nodeId)
  return nodes
}

function loadSecondsByNode({ state }: ClusterView, spec: ModelSpec): (nodeId: string) => number {
  const known = new Map<string, number>()
  return (nodeId) => {
    const seconds = known.get(nodeId) ?? loadMsOn(state, spec, nodeId) / 1_000
    known.set(nodeId, seconds)
    return seconds
  }
}

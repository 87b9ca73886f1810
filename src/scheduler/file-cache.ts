import type { ModelHistory, ModelSpec } from './state.ts'
import type { ClusterView } from './view.ts'

/**
 * The models whose files a node should read ahead into its page cache, the most worth first: those that save the most
 * seconds of loading an hour for their bytes, of all that fit into the memory that is free. What lies there already is
 * not read again but takes its room; what is loaded on the node was read when it was.
 * @param requestsPerHour what is expected of a model from now on
 */
export function chooseFilesToCache(
  view: ClusterView,
  nodeId: string,
  requestsPerHour: (history: ModelHistory) => number,
): readonly string[] {
  const { state } = view
  const cached = new Set(state.cachedFiles[nodeId])
  const loaded = new Set(state.instances.filter((one) => one.nodeId === nodeId).map(({ spec }) => spec.name))
  let room = state.devices
    .filter((device) => device.nodeId === nodeId && device.kind === 'cpu')
    .reduce((sum, { id }) => sum + Math.max(0, view.freeBytes.get(id) ?? 0), 0)
  const chosen: string[] = []
  const worth = Object.values(state.models)
    .filter(({ spec }) => spec.nodes.includes(nodeId) && !loaded.has(spec.name))
    .map((history) => ({ spec: history.spec, density: density(history.spec, requestsPerHour(history)) }))
    .filter(({ density }) => density > 0)
    .sort((a, b) => b.density - a.density)
  for (const { spec } of worth) {
    if (spec.memoryBytes > room) continue
    room -= spec.memoryBytes
    if (!cached.has(spec.name)) chosen.push(spec.name)
  }
  return chosen
}

/** A file is smaller than what its model takes once loaded, by what the requests need: so no more is read than fits. */
function density({ loadMs, cachedLoadMs, memoryBytes }: ModelSpec, rate: number): number {
  return (rate * Math.max(0, loadMs - cachedLoadMs)) / Math.max(1, memoryBytes)
}

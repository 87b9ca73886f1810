import type { RunningEngineView } from '../contracts/node.ts'
import type { AdoptedInstance } from '../scheduler/events.ts'
import type { ClusterState, ModelSpec } from '../scheduler/state.ts'

export interface Adoption {
  readonly adopted: readonly AdoptedInstance[]
  /** Instances that nobody wants. */
  readonly surplus: readonly string[]
  /** Instances that the pool believes to be ready there, and that are not. */
  readonly missing: readonly string[]
}

export interface AdoptionRequest {
  readonly nodeId: string
  /** What the node runs, as it says itself. */
  readonly running: readonly RunningEngineView[]
  readonly state: ClusterState
  /** The model as it would be placed now; undefined when there is no such model any more, or it is started otherwise. */
  readonly specOf: (engine: RunningEngineView) => ModelSpec | undefined
}

/**
 * What becomes of the engines of a node that joins: they outlived the pool that started them, or the connection to it.
 * Requests may be running on each, so that one is kept wherever it is of use: it is ended only when its model is gone,
 * another instance has its id, or there are as many of its model elsewhere as may be.
 */
export function adopt({ nodeId, running, state, specOf }: AdoptionRequest): Adoption {
  const adopted: AdoptedInstance[] = []
  const surplus: string[] = []
  for (const engine of running) {
    const { instanceId: id, shares } = engine.request
    const known = state.instances.find((instance) => instance.id === id)
    if (known?.nodeId === nodeId) continue
    const spec = specOf(engine)
    const others = (name: string) =>
      state.instances.filter((one) => one.spec.name === name && one.state !== 'unloading').length +
      adopted.filter((one) => one.spec.name === name).length
    if (known || !spec || others(spec.name) >= Math.max(1, spec.replicasMax)) surplus.push(id)
    else adopted.push({ id, spec, nodeId, shares: engine.engine.shares ?? shares })
  }
  const present = new Set(running.map(({ request }) => request.instanceId))
  const missing = state.instances
    .filter((one) => one.nodeId === nodeId && one.state === 'ready' && !present.has(one.id))
    .map(({ id }) => id)
  return { adopted, surplus, missing }
}

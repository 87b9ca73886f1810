import { placementStrategies } from '../../src/scheduler/placement/strategies.ts'
import type { Policy } from '../../src/scheduler/policy.ts'
import {
  type Device,
  type Instance,
  laidOut,
  laidOutSpec,
  type ModelSpec,
} from '../../src/scheduler/state.ts'

/** Values for tests of the scheduler: everything that a test does not speak of is plain. */
export function device(id: string, totalBytes: number, own: Partial<Device> = {}): Device {
  const plain = {
    ...{ id, nodeId: 'node', kind: 'cpu' as const, totalBytes, foreignBytes: 0, health: 'ok' as const },
    ...{ clique: undefined, group: undefined, ...own },
  }
  // In one layout, as real ones are: see `laidOut`.
  return {
    id: plain.id,
    nodeId: plain.nodeId,
    kind: plain.kind,
    totalBytes: plain.totalBytes,
    foreignBytes: plain.foreignBytes,
    health: plain.health,
    clique: plain.clique,
    group: plain.group,
  }
}

export function model(name: string, memoryBytes: number, own: Partial<ModelSpec> = {}): ModelSpec {
  return laidOutSpec({
    ...{ name, memoryBytes, perDeviceBytes: 0, splitMax: 1, onlyOn: undefined, nodes: ['node'] },
    ...{ group: undefined, slots: 4, keepAliveMs: 10_000, pinned: false, priority: 0 },
    ...{ replicasMin: 0, replicasMax: 1, loadMs: 1_000, cachedLoadMs: 500 },
    ...own,
  })
}

export function instance(spec: ModelSpec, deviceId: string, own: Partial<Instance> = {}): Instance {
  return laidOut({
    ...{ id: `${spec.name}-on-${deviceId}`, spec, nodeId: 'node', state: 'ready', purpose: 'demand' },
    ...{ shares: [{ deviceId, bytes: spec.memoryBytes }], inFlight: 0, used: true, readySinceMs: 0 },
    ...{ lastUsedMs: 0, deadlineMs: undefined, worth: 0 },
    ...{ workMs: 0, workedUntilMs: 0 },
    ...own,
  })
}

/** Places by first fit, evicts by least recent use at once, and looks at nothing ahead. */
export const plainPolicy: Policy = {
  place: placementStrategies['first-fit'],
  evict: { by: 'lru', residencyMinMs: 0, swapWaitMs: 0 },
  defragment: { enabled: false, movesMax: 3, gainMin: 1.2, planTimeoutMs: 60_000 },
  balance: { enabled: false, gainMin: 1.2 },
  prefetch: { enabled: false, wasteMax: 0.1, precisionMin: 0.5 },
  scale: { busyMax: 1, downAfterMs: 60_000 },
  transitionTimeoutMs: 60_000,
  crashPauseMs: 500,
  crashPauseMaxMs: 1_200,
  crashWindowMs: 600_000,
  crashesMax: 3,
}

import type { Random } from '../../src/core/random.ts'
import {
  type ClusterState,
  type Device,
  emptyCluster,
  type Instance,
  type ModelHistory,
  type ModelSpec,
  NO_ARRIVALS,
  shareBytes,
} from '../../src/scheduler/state.ts'
import { device, instance, model } from './cluster.ts'

export interface RandomClusterSize {
  readonly nodes: number
  readonly devicesPerNode: number
  readonly instances: number
  /** Whether there are groups, pins to devices, hot and lost ones, busy and leaving instances. */
  readonly varied: boolean
}

/** A cluster by chance in which everything fits; the same seed gives the same one. */
export function randomCluster(random: Random, size: RandomClusterSize): ClusterState {
  const nodes = Array.from({ length: size.nodes }, (_, index) => `node-${index}`)
  const devices = nodes.flatMap((nodeId) => nodeDevices(random, nodeId, size))
  const models = Array.from({ length: 6 }, (_, index) => randomModel(random, `m${index}`, nodes, size))
  const free = new Map(devices.map(({ id, totalBytes, foreignBytes }) => [id, totalBytes - foreignBytes]))
  const instances: Instance[] = []
  for (let attempt = 0; instances.length < size.instances && attempt < size.instances * 4; attempt++) {
    const made = randomInstance(random, { id: `i${attempt}`, models, devices, free, varied: size.varied })
    if (!made) continue
    for (const { deviceId, bytes } of made.shares) free.set(deviceId, (free.get(deviceId) ?? 0) - bytes)
    instances.push(made)
  }
  const histories = models.map((spec): [string, ModelHistory] => [spec.name, history(random, spec)])
  return {
    ...emptyCluster(devices),
    instances,
    models: Object.fromEntries(histories),
    lastPlacedOn: pick(random, [undefined, ...devices.map(({ id }) => id)]),
  }
}

/** One of the kind that `randomCluster` makes. */
export function randomModel(
  random: Random,
  name: string,
  nodes: readonly string[],
  { varied }: Pick<RandomClusterSize, 'varied'>,
): ModelSpec {
  const memoryBytes = 5 + whole(random, 70)
  return model(name, memoryBytes, {
    perDeviceBytes: whole(random, 4),
    nodes: varied && random.uniform() < 0.3 ? nodes.slice(0, 1) : nodes,
    loadMs: 500 + whole(random, 5_000),
    cachedLoadMs: 300,
    ...(varied && {
      splitMax: 1 + whole(random, 4),
      group: random.uniform() < 0.2 ? 'batch' : undefined,
      onlyOn:
        random.uniform() < 0.2 ? [pick(random, ['cuda', 'cpu', ...nodes, `${nodes[0]}-gpu-0`])] : undefined,
      pinned: random.uniform() < 0.1,
      replicasMin: random.uniform() < 0.1 ? 1 : 0,
      priority: whole(random, 2),
    }),
  })
}

export function whole(random: Random, below: number): number {
  return Math.floor(random.uniform() * below)
}

export function pick<Item>(random: Random, items: readonly [Item, ...Item[]] | readonly Item[]): Item {
  const item = items[whole(random, items.length)]
  if (item === undefined && items.length === 0) throw new RangeError('nothing to pick from')
  return item as Item
}

function nodeDevices(random: Random, nodeId: string, size: RandomClusterSize): readonly Device[] {
  const gpus = Array.from({ length: size.devicesPerNode }, (_, index) =>
    device(`${nodeId}-gpu-${index}`, 40 + 20 * whole(random, 4), {
      nodeId,
      kind: 'cuda',
      clique: index % 4 < 2 ? 'left' : undefined,
      ...(size.varied && {
        foreignBytes: random.uniform() < 0.2 ? whole(random, 30) : 0,
        health: pick(random, ['ok', 'ok', 'ok', 'ok', 'hot', 'lost'] as const),
        group: random.uniform() < 0.2 ? 'batch' : undefined,
      }),
    }),
  )
  return size.varied && random.uniform() < 0.5 ? [...gpus, device(`${nodeId}/cpu`, 100, { nodeId })] : gpus
}

function randomInstance(
  random: Random,
  from: {
    readonly id: string
    readonly models: readonly ModelSpec[]
    readonly devices: readonly Device[]
    readonly free: ReadonlyMap<string, number>
    readonly varied: boolean
  },
): Instance | undefined {
  const spec = pick(random, from.models)
  const first = pick(random, from.devices)
  const beside = from.devices.find(
    ({ id, nodeId, kind }) => id !== first.id && nodeId === first.nodeId && kind === first.kind,
  )
  const split = beside && spec.splitMax > 1 && first.kind !== 'cpu' && random.uniform() < 0.3
  const shares = (split ? [first, beside] : [first]).map(({ id }) => ({
    deviceId: id,
    bytes: shareBytes(spec, split ? 2 : 1),
  }))
  if (shares.some(({ deviceId, bytes }) => (from.free.get(deviceId) ?? 0) < bytes)) return undefined
  const busy = from.varied && random.uniform() < 0.3
  return instance(spec, first.id, {
    ...{ id: from.id, nodeId: first.nodeId, shares, inFlight: busy ? 1 + whole(random, 3) : 0 },
    ...{ lastUsedMs: whole(random, 1_000), readySinceMs: whole(random, 1_000), worth: random.uniform() * 50 },
    ...(from.varied && {
      state: pick(random, ['ready', 'ready', 'ready', 'ready', 'loading', 'draining', 'unloading'] as const),
    }),
  })
}

function history(random: Random, spec: ModelSpec): ModelHistory {
  const arrivals = { ...NO_ARRIVALS, rates: [random.uniform(), random.uniform()] }
  return { spec, crashes: [], inFlight: 0, queued: 0, spareSinceMs: undefined, held: false, arrivals }
}

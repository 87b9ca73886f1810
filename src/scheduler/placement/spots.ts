import type { Device, Share } from '../state.ts'

/** Devices that together hold one instance: one, or several of one node. */
export interface Spot {
  readonly nodeId: string
  readonly shares: readonly Share[]
}

/** A way to hold a model: so many devices, all out of one of the pools. */
export interface SpotTier {
  readonly count: number
  readonly pools: readonly (readonly Device[])[]
}

/**
 * The ways to hold the model, what is wanted most first: one accelerator; then ever more of them, as few as do, those
 * that reach each other fast before others of their node; then a machine's own memory, on which it runs many times
 * slower than over a split. That memory is never part of one: all would wait for its share.
 * @param devices those that the model may be on
 * @param splitMax over how many of them it may be split
 */
export function* spotTiers(devices: readonly Device[], splitMax: number): Generator<SpotTier> {
  const accelerators = devices.filter(({ kind }) => kind !== 'cpu')
  if (accelerators.length > 0) yield { count: 1, pools: [accelerators] }
  if (splitMax > 1 && accelerators.length > 1) yield* splitTiers(accelerators, splitMax)
  if (accelerators.length < devices.length) {
    yield { count: 1, pools: [devices.filter(({ kind }) => kind === 'cpu')] }
  }
}

/** The spot on those devices, each with the same share; undefined where there are none. */
export function spotOn(devices: readonly Device[], bytes: number): Spot | undefined {
  const [first] = devices
  return first && { nodeId: first.nodeId, shares: devices.map(({ id }) => ({ deviceId: id, bytes })) }
}

/** An engine computes with one kind of device, so that a split is over devices of one kind. */
function* splitTiers(accelerators: readonly Device[], splitMax: number): Generator<SpotTier> {
  const linked = pooled(
    accelerators.filter(({ clique }) => clique !== undefined),
    ({ nodeId, kind, clique }) => [nodeId, kind, clique].join('\n'),
  )
  const nodes = pooled(accelerators, ({ nodeId, kind }) => [nodeId, kind].join('\n'))
  for (let count = 2; count <= splitMax; count++) {
    for (const all of [linked, nodes]) {
      const pools = all.filter(({ length }) => length >= count)
      if (pools.length > 0) yield { count, pools }
    }
  }
}

function pooled(
  devices: readonly Device[],
  keyOf: (device: Device) => string,
): readonly (readonly Device[])[] {
  const pools = new Map<string, Device[]>()
  for (const device of devices) {
    const key = keyOf(device)
    const pool = pools.get(key)
    if (pool) pool.push(device)
    else pools.set(key, [device])
  }
  return [...pools.values()]
}

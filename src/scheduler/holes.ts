import { spotTiers } from './placement/spots.ts'
import { type Device, type ModelSpec, shareBytes } from './state.ts'
import { allowedDevices, type ClusterView } from './view.ts'

/** A place that would do for a model, were there room. */
export interface Hole {
  readonly devices: readonly Device[]
  /** Of each of them. */
  readonly bytes: number
  /** Over all of them. */
  readonly missingBytes: number
}

/** Where the model could be once others have made room, what lacks least first. */
export function reachableHoles({ state, freeBytes }: ClusterView, spec: ModelSpec): readonly Hole[] {
  const allowed = allowedDevices(state.devices, spec).filter(({ health }) => health === 'ok')
  const free = ({ id }: Device) => freeBytes.get(id) ?? 0
  const holes = new Map<string, Hole>()
  for (const { count, pools } of spotTiers(allowed, spec.splitMax)) {
    const bytes = shareBytes(spec, count)
    for (const devices of pools.flatMap((pool) => setsOf(pool, count, free))) {
      if (devices.some(({ totalBytes, foreignBytes }) => totalBytes - foreignBytes < bytes)) continue
      const missingBytes = devices.reduce((sum, device) => sum + Math.max(0, bytes - free(device)), 0)
      holes.set(devices.map(({ id }) => id).join('\n'), { devices, bytes, missingBytes })
    }
  }
  return [...holes.values()].sort((a, b) => a.missingBytes - b.missingBytes)
}

/** Sets of devices are all looked at in pools up to this size; in larger ones the emptiest alone. */
const POOL_MAX = 5

/** Every set of so many devices of a small pool. */
export function setsOf(
  pool: readonly Device[],
  count: number,
  free: (device: Device) => number,
): readonly (readonly Device[])[] {
  if (count === 1) return pool.map((device) => [device])
  if (pool.length > POOL_MAX) return [[...pool].sort((a, b) => free(b) - free(a)).slice(0, count)]
  return pool.flatMap((first, index) => {
    const rest = pool.slice(index + 1)
    return rest.length < count - 1 ? [] : setsOf(rest, count - 1, free).map((others) => [first, ...others])
  })
}

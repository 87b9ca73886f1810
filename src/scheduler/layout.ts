import type { ClusterState, Device, Instance } from './state.ts'

/** Which instances lie on which devices, and what that leaves of them. */
export interface Layout {
  readonly instances: readonly Instance[]
  readonly freeBytes: ReadonlyMap<string, number>
  readonly devices: ReadonlyMap<string, Device>
  readonly instancesOn: ReadonlyMap<string, readonly Instance[]>
}

/**
 * The layout of the state. It follows from devices and instances alone; from one decision to the next few instances
 * change, so that the last layout of the same devices is taken over but for the devices of those.
 */
export function layoutOf({ devices, instances }: ClusterState): Layout {
  const last = remembered.get(devices)
  if (last?.instances === instances) return last
  const changes = last && changesBetween(last.instances, instances)
  const layout = last && changes ? changed(last, instances, changes) : laidAnew(devices, instances)
  remembered.set(devices, layout)
  return layout
}

const remembered = new WeakMap<readonly Device[], Layout>()

/** With more changes than this it is quicker to begin anew. */
const CHANGES_MAX = 32

interface Changes {
  /** What the instance is now; undefined where it is gone. */
  readonly now: ReadonlyMap<Instance, Instance | undefined>
  readonly added: readonly Instance[]
}

/** What became of one list, if all that is in both stands in the same order and what is new at the end. */
function changesBetween(before: readonly Instance[], after: readonly Instance[]): Changes | undefined {
  const now = new Map<Instance, Instance | undefined>()
  let next = 0
  for (const old of before) {
    const one = after[next]
    if (one === old) {
      next++
      continue
    }
    if (now.size === CHANGES_MAX) return undefined
    if (one?.id === old.id) {
      if (!isAtSamePlaces(old, one)) return undefined
      now.set(old, one)
      next++
    } else now.set(old, undefined)
  }
  const added = after.slice(next)
  return added.length > CHANGES_MAX ? undefined : { now, added }
}

function isAtSamePlaces({ shares }: Instance, { shares: others }: Instance): boolean {
  if (shares === others) return true
  return (
    shares.length === others.length && shares.every(({ deviceId }, at) => deviceId === others[at]?.deviceId)
  )
}

function changed(last: Layout, instances: readonly Instance[], { now, added }: Changes): Layout {
  const { devices } = last
  const instancesOn = new Map(last.instancesOn)
  for (const [old, one] of now) {
    for (const { deviceId } of old.shares) {
      const here = instancesOn.get(deviceId)
      if (here) instancesOn.set(deviceId, replaced(here, old, one))
    }
  }
  for (const instance of added) {
    for (const { deviceId } of instance.shares) {
      const here = instancesOn.get(deviceId)
      if (here) instancesOn.set(deviceId, [...here, instance])
    }
  }
  return { instances, freeBytes: freeAfter(last, instancesOn, { now, added }), devices, instancesOn }
}

function replaced(list: readonly Instance[], old: Instance, one: Instance | undefined): readonly Instance[] {
  return one ? list.map((other) => (other === old ? one : other)) : list.filter((other) => other !== old)
}

/** Added up anew where something changed, and not by differences, so that a layout is the same however it came about. */
function freeAfter(
  { freeBytes, devices }: Layout,
  instancesOn: Layout['instancesOn'],
  { now, added }: Changes,
): Layout['freeBytes'] {
  const touched = new Set<string>()
  for (const { shares } of added) for (const { deviceId } of shares) touched.add(deviceId)
  for (const [{ shares }, one] of now) {
    // What only changed how it is used takes what it took.
    if (shares !== one?.shares) for (const { deviceId } of shares) touched.add(deviceId)
  }
  if (touched.size === 0) return freeBytes
  const next = new Map(freeBytes)
  for (const id of touched) {
    const device = devices.get(id)
    if (device) next.set(id, freeOn(device, instancesOn.get(id) ?? []))
  }
  return next
}

function freeOn({ id, totalBytes, foreignBytes }: Device, instances: readonly Instance[]): number {
  let free = totalBytes - foreignBytes
  for (const { shares } of instances) {
    for (const share of shares) if (share.deviceId === id) free -= share.bytes
  }
  return free
}

function laidAnew(all: readonly Device[], instances: readonly Instance[]): Layout {
  const freeBytes = new Map<string, number>()
  const devices = new Map<string, Device>()
  const instancesOn = new Map<string, Instance[]>()
  for (const device of all) {
    devices.set(device.id, device)
    instancesOn.set(device.id, [])
  }
  for (const instance of instances) {
    for (const { deviceId } of instance.shares) instancesOn.get(deviceId)?.push(instance)
  }
  for (const device of all) freeBytes.set(device.id, freeOn(device, instancesOn.get(device.id) ?? []))
  return { instances, freeBytes, devices, instancesOn }
}

import { type ExpectedLoad, expectedLoad } from './expected-load.ts'
import { type Device, type Instance, loadMsOn, type ModelSpec, type Move } from './state.ts'
import { type ClusterView, isAllowedOn } from './view.ts'

/** A move after which devices will compute more evenly, and why it is worth it. */
export interface BalanceMove {
  readonly move: Move
  readonly because: string
}

/** What was so in the last hour is taken to be so for the next one. */
const AHEAD_SECONDS = 3_600
/** The busiest of the two must have at least this share of its load less: loads are estimates, and moving is unrest. */
const RELIEF_MIN = 0.1
const FAILED_PAUSE_MS = 3_600_000
/** Devices that are looked at: of many, those that have the most to give and to take. */
const BUSIEST_MAX = 4
const IDLEST_MAX = 8

/**
 * The one instance whose move evens out most what devices will compute: of two that share a device requests wait for each
 * other, in bursts by far the most. None that is pinned or lies on several devices, only where there is room for it
 * beside its old self, apart from its replicas, and between devices of one kind and size, for the time that one takes
 * says nothing of another.
 *
 * Worth it is a move that takes `gainMin` times as many seconds of computing from the busier device in the next hour as
 * its load takes. Every move makes the sum of the squared loads less, so that with the same demand none is ever undone,
 * nor is there a circle of several.
 */
export function balanceMove(view: ClusterView, gainMin: number): BalanceMove | undefined {
  const load = expectedLoad(view.state, view.nowMs)
  const loadOn = ({ id }: Device) => load.devices.get(id) ?? 0
  const open = view.state.devices.filter(({ health }) => health !== 'lost')
  const byLoad = open.sort((a, b) => loadOn(b) - loadOn(a))
  const idlest = byLoad.filter(({ health }) => health === 'ok').slice(-IDLEST_MAX)
  let best: Relief | undefined
  for (const from of byLoad.slice(0, BUSIEST_MAX)) {
    for (const instance of view.instancesOn.get(from.id) ?? []) {
      for (const to of idlest) {
        const relief = reliefOf(view, { instance, from, to }, load)
        if (!relief || AHEAD_SECONDS * relief.lowered < gainMin * relief.loadSeconds) continue
        if (!best || relief.evened > best.evened) best = relief
      }
    }
  }
  return best && { move: moveOf(best), because: reasonOf(best, load) }
}

interface Transfer {
  readonly instance: Instance
  readonly from: Device
  readonly to: Device
}

interface Relief extends Transfer {
  /** By so much the load of the busier of both devices becomes less. */
  readonly lowered: number
  /** Half of what the sum of the squared loads becomes less. */
  readonly evened: number
  readonly loadSeconds: number
}

function reliefOf(
  view: ClusterView,
  { instance, from, to }: Transfer,
  load: ExpectedLoad,
): Relief | undefined {
  const { id, spec, state, shares } = instance
  const [before, beside] = [load.devices.get(from.id) ?? 0, load.devices.get(to.id) ?? 0]
  const own = load.instances.get(id) ?? 0
  const lowered = before - Math.max(before - own, beside + own)
  // First what is quick to see and seldom so.
  if (lowered <= 0 || lowered < RELIEF_MIN * before) return undefined
  if (state !== 'ready' || spec.pinned || shares.length !== 1 || isUnsound(view, spec)) return undefined
  if (from.kind !== to.kind || from.totalBytes !== to.totalBytes || !isAllowedOn(spec, to)) return undefined
  if ((view.freeBytes.get(to.id) ?? 0) < bytesOf(instance)) return undefined
  if (view.instancesOn.get(to.id)?.some((other) => other.spec.name === spec.name)) return undefined
  const loadSeconds = loadMsOn(view.state, spec, to.nodeId) / 1_000
  return { instance, from, to, lowered, evened: own * (before - beside - own), loadSeconds }
}

/** It crashed, or did not load lately: its copy might not either, and it serves where it is. */
function isUnsound({ state, nowMs }: ClusterView, { name }: ModelSpec): boolean {
  const { crashes = [], failedMs = Number.NEGATIVE_INFINITY } = state.models[name] ?? {}
  return crashes.length > 0 || nowMs - failedMs < FAILED_PAUSE_MS
}

function moveOf({ instance, to }: Relief): Move {
  const share = { deviceId: to.id, bytes: bytesOf(instance) }
  return { instanceId: instance.id, nodeId: to.nodeId, to: [share], kind: 'copy-first' }
}

function bytesOf({ shares }: Instance): number {
  return shares[0]?.bytes ?? 0
}

function reasonOf({ instance, from, to }: Relief, { devices, instances }: ExpectedLoad): string {
  const [before, beside, own] = [devices.get(from.id), devices.get(to.id), instances.get(instance.id)].map(
    (share = 0) => `${(100 * share).toFixed(1)} %`,
  )
  return `${from.id} is expected to compute ${before} of the time, ${to.id} ${beside}, and ${own} is for this one`
}

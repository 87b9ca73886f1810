import { requestsRemembered, watchedMs } from './forecast/growth.ts'
import type { ClusterState, Instance, ModelSpec } from './state.ts'
import { workRemembered } from './work.ts'

/** What share of its time each device will probably compute, as what is ready or loading was asked for lately. */
export interface ExpectedLoad {
  /** By device: 1 where it never rests. */
  readonly devices: ReadonlyMap<string, number>
  /** By id: the part of one instance, on each of its devices. */
  readonly instances: ReadonlyMap<string, number>
}

/**
 * Requests that each loaded model counts for before any came: one that nobody has asked for yet may be, and the first
 * request for it says little of how many there will be.
 */
const REQUESTS_ASSUMED = 0.5

/**
 * Requests per second, as in the last hour, times what one took of a device, over the model's replicas. Of a model that
 * has answered none, a request takes for its bytes what those of the others took.
 */
export function expectedLoad(state: ClusterState, nowMs: number): ExpectedLoad {
  const present = state.instances.filter((one) => one.state === 'loading' || one.state === 'ready')
  const accounts = accountsOf(state, present, nowMs)
  const msPerByte = msPerByteOf(accounts.values())
  const devices = new Map<string, number>()
  for (const { id } of state.devices) devices.set(id, 0)
  const instances = new Map<string, number>()
  for (const { id, spec, shares } of present) {
    const account = accounts.get(spec.name)
    const load = account ? loadOf(account, msPerByte) / account.replicas : 0
    instances.set(id, load)
    for (const { deviceId } of shares) devices.set(deviceId, (devices.get(deviceId) ?? 0) + load)
  }
  return { devices, instances }
}

interface Account {
  readonly spec: ModelSpec
  readonly workMs: number
  readonly requests: number
  readonly watchedMs: number
  replicas: number
}

function accountsOf(
  { models }: ClusterState,
  present: readonly Instance[],
  nowMs: number,
): ReadonlyMap<string, Account> {
  const accounts = new Map<string, Account>()
  for (const { spec } of present) {
    const known = accounts.get(spec.name)
    const history = models[spec.name]
    if (known) known.replicas += 1
    else if (history) {
      accounts.set(spec.name, {
        spec,
        workMs: workRemembered(history.work, nowMs),
        requests: requestsRemembered(history.arrivals, nowMs),
        watchedMs: watchedMs(history.arrivals, nowMs),
        replicas: 1,
      })
    }
  }
  return accounts
}

function msPerByteOf(accounts: Iterable<Account>): number {
  let workMs = 0
  let requestBytes = 0
  for (const one of accounts) {
    if (one.workMs === 0) continue
    workMs += one.workMs
    requestBytes += one.requests * one.spec.memoryBytes
  }
  return requestBytes > 0 ? workMs / requestBytes : 0
}

function loadOf({ spec, workMs, requests, watchedMs: timeMs }: Account, msPerByte: number): number {
  if (timeMs <= 0) return 0
  const eachMs = workMs > 0 && requests > 0 ? workMs / requests : msPerByte * spec.memoryBytes
  return (eachMs * (requests + REQUESTS_ASSUMED)) / timeMs
}

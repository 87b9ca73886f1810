import type { AdoptedInstance, ModelDemand, SchedulerEvent } from './events.ts'
import { worthOf } from './eviction.ts'
import { type ForecastTime, observeArrivals, requestsPerHour } from './forecast/forecast.ts'
import { historiesOf, noHistories, withHistories } from './histories.ts'
import { recordPrefetch } from './prefetch-ledger.ts'
import { type Device, type Instance, laidOut, loadMsOn, type ModelHistory, type ModelSpec } from './state.ts'
import { type Turn, UNKNOWN } from './turn.ts'
import { chargeWork } from './work.ts'

/** What an event says of the world. What follows from that is decided afterwards. */
export function applyEvent(turn: Turn, event: SchedulerEvent): void {
  switch (event.kind) {
    case 'model-wanted':
      wanted(turn, event.spec)
      break
    case 'model-unwanted':
      turn.dropWaiting(event.model, 'demand')
      break
    case 'instance-ready':
      ready(turn, event)
      break
    case 'instance-gone':
      gone(turn, event)
      break
    case 'use-changed':
      used(turn, event.instanceId, event.inFlight)
      break
    case 'demand':
      demanded(turn, event.calendarMs, event.models)
      break
    case 'devices-changed':
      devicesChanged(turn, event.nodeId, event.devices)
      break
    case 'node-lost':
      nodeLost(turn, event.nodeId)
      break
    case 'instance-adopted':
      adopted(turn, event.instance)
      break
    case 'files-cached':
      turn.change({ cachedFiles: { ...turn.state.cachedFiles, [event.nodeId]: event.models } })
      break
    case 'models-known':
      modelsKnown(turn, event.specs)
      break
    case 'unload-asked':
      unloadAsked(turn, event.model)
      break
    case 'crashes-forgiven':
      turn.updateHistory(event.model, { crashes: [] })
      break
    case 'defragment-asked':
    case 'time-passed':
      break
  }
}

/** The scheduler's clock and the calendar's. */
export function forecastTime({ state, nowMs }: Turn): ForecastTime {
  return { nowMs, calendarMs: nowMs + state.calendarOffsetMs }
}

function wanted(turn: Turn, spec: ModelSpec): void {
  turn.updateHistory(spec.name, { held: false })
  const present = turn.state.instances.find(
    ({ spec: { name }, state }) => name === spec.name && (state === 'loading' || state === 'ready'),
  )
  if (present) return
  const notBeforeMs = turn.crashPauseEndMs(spec.name)
  turn.want({ spec, purpose: 'demand', sinceMs: turn.nowMs, notBeforeMs })
}

function ready(turn: Turn, event: Extract<SchedulerEvent, { kind: 'instance-ready' }>): void {
  const instance = turn.instance(event.instanceId)
  if (instance?.state !== 'loading') return
  const { nowMs, state } = turn
  const loadMs = loadMsOn(state, instance.spec, instance.nodeId)
  turn.change({ prefetches: recordPrefetch(state.prefetches, { kind: 'loaded', loadMs }, nowMs) })
  turn.updateInstance(instance.id, (one) => ({
    ...one,
    state: 'ready',
    shares: event.shares ?? one.shares,
    deadlineMs: undefined,
    readySinceMs: nowMs,
    lastUsedMs: nowMs,
    worth: worthNow(turn, one.spec),
  }))
}

function gone(turn: Turn, { instanceId, why }: Extract<SchedulerEvent, { kind: 'instance-gone' }>): void {
  const instance = turn.instance(instanceId)
  if (!instance) return
  countUnused(turn, instance)
  turn.remove(instance, why)
}

function countUnused(turn: Turn, { purpose, used: wasUsed, spec, nodeId, readySinceMs }: Instance): void {
  if (purpose !== 'prefetch' || wasUsed || readySinceMs === undefined) return
  const outcome = { kind: 'useless', loadMs: loadMsOn(turn.state, spec, nodeId) } as const
  turn.change({ prefetches: recordPrefetch(turn.state.prefetches, outcome, turn.nowMs) })
}

function used(turn: Turn, instanceId: string, inFlight: number): void {
  const instance = turn.instance(instanceId)
  if (!instance) return
  const isFirstUse = !instance.used && inFlight > 0
  if (isFirstUse && instance.purpose === 'prefetch') {
    turn.change({ prefetches: recordPrefetch(turn.state.prefetches, { kind: 'useful' }, turn.nowMs) })
  }
  const isTurn = instance.inFlight > 0 !== inFlight > 0
  // Nothing else goes by what was computed.
  if (isTurn && turn.policy.balance.enabled) chargeWork(turn, instance)
  const begins = instance.inFlight === 0 && inFlight > 0
  const worth = begins ? worthNow(turn, instance.spec) : instance.worth
  turn.updateInstance(instanceId, (one) => ({
    ...one,
    inFlight,
    used: one.used || inFlight > 0,
    lastUsedMs: turn.nowMs,
    worth,
    workedUntilMs: begins ? turn.nowMs : one.workedUntilMs,
  }))
}

/** What keeping a byte of the model is worth, as things look now. */
export function worthNow(turn: Turn, spec: ModelSpec): number {
  const history = turn.state.models[spec.name]
  const perHour = history ? requestsPerHour(history.arrivals, forecastTime(turn)) : 0
  return worthOf(spec, perHour)
}

function demanded(turn: Turn, calendarMs: number, demands: readonly ModelDemand[]): void {
  turn.change({ calendarOffsetMs: calendarMs - turn.nowMs })
  const time = forecastTime(turn)
  const byModel = new Map<string, ModelDemand>()
  for (const demand of demands) byModel.set(demand.model, demand)
  const { models } = turn.state
  const changed = new Map<string, ModelHistory>()
  for (const history of historiesOf(models)) {
    const { name } = history.spec
    const demand = byModel.get(name)
    const [inFlight, queued] = [demand?.inFlight ?? 0, demand?.queued ?? 0]
    const arrivals = observeArrivals(history.arrivals, demand?.arrivals ?? 0, time)
    const isSame = arrivals === history.arrivals && inFlight === history.inFlight && queued === history.queued
    if (isSame) continue
    const { spec, crashes, failedMs, spareSinceMs, held, work } = history
    // Written out: see `laidOut`.
    const known = { spec, crashes, inFlight, queued, spareSinceMs, held, arrivals, work }
    changed.set(name, failedMs === undefined ? known : { ...known, failedMs })
  }
  if (changed.size > 0) turn.change({ models: withHistories(models, changed) })
}

function devicesChanged(turn: Turn, nodeId: string, devices: readonly Device[]): void {
  const others = turn.state.devices.filter((device) => device.nodeId !== nodeId)
  turn.change({ devices: [...others, ...devices] })
  const alive = new Set(devices.filter(({ health }) => health !== 'lost').map(({ id }) => id))
  for (const instance of turn.state.instances) {
    if (instance.nodeId !== nodeId || instance.shares.every(({ deviceId }) => alive.has(deviceId))) continue
    if (instance.state === 'unloading') continue
    // Its process may hang in the driver.
    turn.unload(instance)
    replace(turn, instance)
  }
}

/** Whoever used or awaited it gets another one elsewhere; an idle one is loaded again when it is asked for. */
function replace(turn: Turn, instance: Instance): void {
  const { state, inFlight } = instance
  const spec = turn.latestSpec(instance)
  const isMissed = state === 'loading' || (state === 'ready' && inFlight > 0)
  if (!isMissed || turn.present(spec.name) > 0) return
  turn.want({ spec, purpose: 'demand', sinceMs: turn.nowMs, notBeforeMs: turn.nowMs })
}

function nodeLost(turn: Turn, nodeId: string): void {
  for (const instance of turn.state.instances) {
    if (instance.nodeId !== nodeId) continue
    turn.change({ instances: turn.state.instances.filter(({ id }) => id !== instance.id) })
    replace(turn, instance)
  }
  const { [nodeId]: _, ...cachedFiles } = turn.state.cachedFiles
  turn.change({ devices: turn.state.devices.filter((device) => device.nodeId !== nodeId), cachedFiles })
}

function adopted(turn: Turn, { id, spec, nodeId, shares }: AdoptedInstance): void {
  if (turn.instance(id)) return
  const { nowMs } = turn
  const instance = laidOut({
    ...{ id, spec, nodeId, shares, purpose: 'demand', state: 'ready', inFlight: 0, used: true },
    ...{ readySinceMs: nowMs, lastUsedMs: nowMs, deadlineMs: undefined, worth: worthNow(turn, spec) },
    ...{ workMs: 0, workedUntilMs: nowMs },
  })
  // Its name was given by another pool: none of ours may be given twice.
  const number = Number(/-(\d+)$/.exec(id)?.[1] ?? 0)
  turn.change({
    instances: [...turn.state.instances, instance],
    nextInstance: Math.max(turn.state.nextInstance, number + 1),
  })
  const { models } = turn.state
  if (!models[spec.name])
    turn.change({ models: withHistories(models, new Map([[spec.name, { ...UNKNOWN, spec }]])) })
  turn.dropWaiting(spec.name)
}

function modelsKnown(turn: Turn, specs: readonly ModelSpec[]): void {
  const inUse = new Set(turn.state.instances.map(({ spec }) => spec.name))
  for (const { spec } of turn.state.waiting) inUse.add(spec.name)
  const { models } = turn.state
  const known = new Map<string, ModelHistory>()
  for (const history of historiesOf(models)) {
    if (inUse.has(history.spec.name)) known.set(history.spec.name, history)
  }
  for (const spec of specs) known.set(spec.name, { ...(models[spec.name] ?? UNKNOWN), spec })
  turn.change({ models: withHistories(noHistories(), known) })
  for (const spec of specs) turn.updateWaiting(spec.name, { spec })
}

function unloadAsked(turn: Turn, model: string): void {
  turn.updateHistory(model, { held: true })
  const instances = turn.state.instances.filter(({ spec }) => spec.name === model)
  const isAwaited = turn.state.waiting.some(({ spec }) => spec.name === model)
  if (isAwaited || instances.some(({ state }) => state === 'loading'))
    turn.refuse(model, { kind: 'unloaded' })
  for (const instance of instances) {
    if (instance.state === 'ready' || instance.state === 'loading')
      turn.drain(instance, 'asked', 'the operator wants it')
  }
}

import { COUNTED_MS } from './forecast/growth.ts'
import { historiesOf, withHistories } from './histories.ts'
import type { Instance, ModelHistory, ModelWork } from './state.ts'
import type { Turn } from './turn.ts'
import type { ClusterView } from './view.ts'

/**
 * Charges the time since the last change on the devices of that instance, which is about to begin or to cease, to those
 * that computed there. Engines on one device take turns: of n each did an nth of the work.
 */
export function chargeWork(turn: Turn, { shares }: Instance): void {
  const { instancesOn } = turn.view
  charge(
    turn,
    shares.flatMap(({ deviceId }) => instancesOn.get(deviceId) ?? []),
  )
}

/** Adds to the models' accounts what their instances computed since that was done last; what went meanwhile took it along. */
export function bookWork(turn: Turn): void {
  charge(turn, turn.state.instances)
  const { nowMs, state } = turn
  const worked = new Map<string, number>()
  for (const { spec, workMs } of state.instances)
    if (workMs > 0) worked.set(spec.name, (worked.get(spec.name) ?? 0) + workMs)
  if (worked.size === 0) return
  const changed = new Map<string, ModelHistory>()
  for (const history of historiesOf(state.models)) {
    const ms = worked.get(history.spec.name)
    if (ms === undefined) continue
    const work = { ms: workRemembered(history.work, nowMs) + ms, updatedMs: nowMs }
    changed.set(history.spec.name, { ...history, work })
  }
  turn.change({
    models: withHistories(state.models, changed),
    instances: state.instances.map((one) => (one.workMs > 0 ? { ...one, workMs: 0 } : one)),
  })
}

/** What a model computed in about the last hour, older work counting less. */
export function workRemembered(work: ModelWork | undefined, nowMs: number): number {
  return work ? work.ms * Math.exp(-Math.max(0, nowMs - work.updatedMs) / COUNTED_MS) : 0
}

function charge(turn: Turn, some: readonly Instance[]): void {
  const { nowMs, view } = turn
  const busy = new Set(some.filter(({ inFlight, workedUntilMs }) => inFlight > 0 && workedUntilMs < nowMs))
  if (busy.size === 0) return
  const instances = [...turn.state.instances]
  for (const one of busy) {
    const workMs = one.workMs + (nowMs - one.workedUntilMs) / crowdOf(view, one)
    instances[instances.indexOf(one)] = { ...one, workMs, workedUntilMs: nowMs }
  }
  turn.change({ instances })
}

/** How many compute where the instance does, itself among them; over several devices as many as on its most crowded one. */
function crowdOf({ instancesOn }: ClusterView, { shares }: Instance): number {
  let most = 1
  for (const { deviceId } of shares) {
    let crowd = 0
    for (const { inFlight } of instancesOn.get(deviceId) ?? []) if (inFlight > 0) crowd += 1
    most = Math.max(most, crowd)
  }
  return most
}

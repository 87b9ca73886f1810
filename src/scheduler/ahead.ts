import { forecastTime } from './apply.ts'
import type { SchedulerEvent } from './events.ts'
import { chooseFilesToCache } from './file-cache.ts'
import { requestsPerHour } from './forecast/forecast.ts'
import { choosePrefetches } from './prefetch.ts'
import { replicasWanted } from './scaling.ts'
import type { Instance, ModelHistory, ModelSpec, Purpose } from './state.ts'
import type { Turn } from './turn.ts'

/**
 * What nobody waits for yet: the least number of instances, more of those that are busy, fewer of those that are not,
 * and models that are expected to be asked for.
 */
export function lookAhead(turn: Turn, event: SchedulerEvent): void {
  if (event.kind !== 'use-changed') keepMinimum(turn)
  if (event.kind === 'files-cached' && turn.policy.prefetch.enabled) readAhead(turn, event.nodeId)
  if (event.kind !== 'demand') return
  for (const history of Object.values(turn.state.models)) scale(turn, history)
  for (const spec of choosePrefetches(turn.view, turn.policy.prefetch)) {
    if (turn.present(spec.name) === 0) wish(turn, spec, 'prefetch')
  }
}

/** One file at a time: the next one when the node says what it has by then. */
function readAhead(turn: Turn, nodeId: string): void {
  const time = forecastTime(turn)
  const [model] = chooseFilesToCache(turn.view, nodeId, ({ arrivals }) => requestsPerHour(arrivals, time))
  if (model !== undefined) turn.actions.push({ kind: 'cache-file', model, nodeId })
}

function keepMinimum(turn: Turn): void {
  for (const { spec, held, crashes } of Object.values(turn.state.models)) {
    if (held || spec.replicasMin === 0 || crashes.length >= turn.policy.crashesMax) continue
    if (turn.present(spec.name) < spec.replicasMin) wish(turn, spec, 'minimum')
  }
}

function scale(turn: Turn, history: ModelHistory): void {
  const { spec } = history
  if (spec.replicasMax <= 1) return
  const present = turn.present(spec.name)
  if (present === 0) return
  const wanted = replicasWanted(history, present, turn.policy.scale, turn.nowMs)
  if (wanted > present) wish(turn, spec, 'replica')
  if (wanted >= present) return
  const replicas = turn.state.instances.filter(
    (one): one is Instance => one.spec.name === spec.name && one.state === 'ready',
  )
  const least = replicas.sort((a, b) => a.inFlight - b.inFlight || a.lastUsedMs - b.lastUsedMs)[0]
  if (least) turn.drain(least, 'scaled-down', `${wanted} of ${present} replicas are enough`)
}

function wish(turn: Turn, spec: ModelSpec, purpose: Purpose): void {
  turn.want({ spec, purpose, sinceMs: turn.nowMs, notBeforeMs: turn.nowMs })
}

import { forecastTime } from './apply.ts'
import type { SchedulerEvent } from './events.ts'
import { chooseFilesToCache } from './file-cache.ts'
import { requestsPerHour } from './forecast/forecast.ts'
import { historiesOf, withHistories } from './histories.ts'
import { balanceLoad } from './moves.ts'
import { choosePrefetches, type Prefetch } from './prefetch.ts'
import { replicasWanted, spareSince } from './scaling.ts'
import type { ModelHistory, ModelSpec, Purpose } from './state.ts'
import type { Turn } from './turn.ts'

/** What is expected changes slowly, and looking at every model takes milliseconds where there are many. */
const PREFETCH_EVERY_MS = 10_000

/** What did not load is tried again so much later when nobody asks: others may be unloaded for it each time. */
const FAILED_PAUSE_MS = 60_000

/** Of what else happens nothing makes a model fall below its least number. */
const MAY_LEAVE_TOO_FEW: ReadonlySet<SchedulerEvent['kind']> = new Set([
  'models-known',
  'instance-ready',
  'instance-gone',
  'node-lost',
  'devices-changed',
  'crashes-forgiven',
  'demand',
])

/**
 * What nobody waits for yet: the least number of instances, more of those that are busy, fewer of those that are not,
 * and models that are expected to be asked for.
 */
export function lookAhead(turn: Turn, event: SchedulerEvent): void {
  if (MAY_LEAVE_TOO_FEW.has(event.kind)) keepMinimum(turn)
  if (event.kind === 'files-cached' && turn.policy.prefetch.enabled) readAhead(turn, event.nodeId)
  if (event.kind !== 'demand') return
  scaleAll(turn)
  prefetch(turn)
  balanceLoad(turn)
}

function keepMinimum(turn: Turn): void {
  for (const history of historiesOf(turn.state.models)) {
    const { spec, held } = history
    if (spec.replicasMin === 0 || held || isOutOfFavour(turn, history)) continue
    if (turn.present(spec.name) < spec.replicasMin) wish(turn, spec, 'minimum')
  }
}

/** In quarantine, or it failed to load just now: it comes when somebody asks for it. */
function isOutOfFavour({ policy, nowMs }: Turn, { crashes, failedMs }: ModelHistory): boolean {
  return crashes.length >= policy.crashesMax || (failedMs !== undefined && nowMs - failedMs < FAILED_PAUSE_MS)
}

/** One file at a time: the next one when the node says what it has by then. */
function readAhead(turn: Turn, nodeId: string): void {
  const time = forecastTime(turn)
  const [model] = chooseFilesToCache(turn.view, nodeId, ({ arrivals }) => requestsPerHour(arrivals, time))
  if (model !== undefined) turn.actions.push({ kind: 'cache-file', model, nodeId })
}

function scaleAll(turn: Turn): void {
  const { models } = turn.state
  const changed = new Map<string, ModelHistory>()
  for (const history of historiesOf(models)) {
    const { spec } = history
    const present = spec.replicasMax > 1 ? turn.present(spec.name) : 0
    if (present === 0) continue
    const spareSinceMs = spareSince(history, present, turn.policy.scale, turn.nowMs)
    if (spareSinceMs !== history.spareSinceMs) changed.set(spec.name, { ...history, spareSinceMs })
    scale(turn, changed.get(spec.name) ?? history, present)
  }
  // All at once, for each change copies all histories.
  if (changed.size > 0) turn.change({ models: withHistories(turn.state.models, changed) })
}

function scale(turn: Turn, history: ModelHistory, present: number): void {
  const { nowMs, policy } = turn
  const { spec } = history
  const wanted = replicasWanted(history, present, policy.scale, nowMs)
  if (wanted > present && !isOutOfFavour(turn, history)) wish(turn, spec, 'replica')
  const replicas = turn.state.instances.filter((one) => one.spec.name === spec.name && one.state === 'ready')
  // One that is loading serves nobody yet.
  if (replicas.length <= wanted) return
  const least = replicas.sort((a, b) => a.inFlight - b.inFlight || a.lastUsedMs - b.lastUsedMs)[0]
  if (least) turn.drain(least, 'scaled-down', `${wanted} of ${present} replicas are enough`)
}

/** The one that gains most; what it changes counts when it is looked again. */
function prefetch(turn: Turn): void {
  const { nowMs, policy, state } = turn
  const { prefetchSoughtMs } = state
  if (!policy.prefetch.enabled) return
  if (prefetchSoughtMs !== undefined && nowMs - prefetchSoughtMs < PREFETCH_EVERY_MS) return
  turn.change({ prefetchSoughtMs: nowMs })
  // Whoever waits comes first.
  if (state.waiting.some(({ purpose }) => purpose === 'demand') || state.plan) return
  const [best] = choosePrefetches(turn.view, policy.prefetch)
  if (best) begin(turn, best)
}

function begin(turn: Turn, { spec, nodeId, deviceId, victims, because }: Prefetch): void {
  for (const victim of victims) turn.drain(victim, 'room', `room for ${spec.name}: ${because}`)
  if (victims.length > 0) {
    wish(turn, spec, 'prefetch')
    return
  }
  const shares = [{ deviceId, bytes: spec.memoryBytes }]
  turn.load({ spec, purpose: 'prefetch' }, { nodeId, shares, because, candidates: [] })
}

function wish(turn: Turn, spec: ModelSpec, purpose: Purpose): void {
  turn.want({ spec, purpose, sinceMs: turn.nowMs, notBeforeMs: turn.crashPauseEndMs(spec.name) })
}

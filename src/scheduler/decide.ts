import type { SchedulerAction } from './actions.ts'
import { lookAhead } from './ahead.ts'
import { applyEvent } from './apply.ts'
import type { SchedulerEvent } from './events.ts'
import { askForMoves, progressMoves } from './moves.ts'
import { placeWaiting } from './place-waiting.ts'
import type { Policy } from './policy.ts'
import type { DecisionRecord } from './records.ts'
import { relieve } from './relieve.ts'
import type { ClusterState, Instance } from './state.ts'
import { Turn } from './turn.ts'

export interface Decision {
  readonly state: ClusterState
  readonly actions: readonly SchedulerAction[]
  /** Why: for the operator alone. */
  readonly records: readonly DecisionRecord[]
}

/**
 * The whole scheduler: what happens to the state, and what is to be done about it. Pure; `nowMs` is any clock that
 * does not go back.
 */
export function decide(state: ClusterState, event: SchedulerEvent, policy: Policy, nowMs: number): Decision {
  const turn = new Turn(state, policy, nowMs)
  applyEvent(turn, event)
  endIdleAndOverdue(turn)
  unloadDrained(turn)
  if (event.kind === 'devices-changed') makeGood(turn)
  if (event.kind === 'defragment-asked') askForMoves(turn, event.spec)
  progressMoves(turn)
  lookAhead(turn, event)
  // That something became busy makes room for nobody.
  if (event.kind !== 'use-changed' || event.inFlight === 0) placeWaiting(turn)
  return { state: turn.state, actions: turn.actions, records: turn.records }
}

/** When `decide` must be called again even if nothing happens; undefined when never. */
export function nextWakeMs(state: ClusterState, policy: Policy, nowMs: number): number | undefined {
  const { swapWaitMs, residencyMinMs } = policy.evict
  let wakeMs = state.plan?.deadlineMs ?? Number.POSITIVE_INFINITY
  const wake = (timeMs: number | undefined) => {
    if (timeMs !== undefined && timeMs < wakeMs) wakeMs = timeMs
  }
  // What is due already was looked at just now: only what changes later is worth waking for.
  const wakeLater = (timeMs: number) => wake(timeMs > nowMs ? timeMs : undefined)
  for (const { notBeforeMs, sinceMs } of state.waiting) {
    wakeLater(notBeforeMs)
    wakeLater(sinceMs + swapWaitMs)
  }
  for (const instance of state.instances) {
    wake(instance.deadlineMs ?? idleEndMs(instance))
    if (state.waiting.length > 0 && instance.readySinceMs !== undefined)
      wakeLater(instance.readySinceMs + residencyMinMs)
  }
  return wakeMs === Number.POSITIVE_INFINITY ? undefined : wakeMs
}

/** Whoever it was loaded for hears of it a moment later, however short its keep-alive is. */
const READY_LEAST_MS = 2_000

/** When the keep-alive of an idle ready instance ends; undefined while it is busy or not ready, or must stay. */
export function idleEndMs({ state, inFlight, spec, lastUsedMs, readySinceMs }: Instance): number | undefined {
  if (state !== 'ready' || inFlight > 0 || spec.pinned || spec.replicasMin > 0) return undefined
  return Math.max(lastUsedMs + spec.keepAliveMs, (readySinceMs ?? lastUsedMs) + READY_LEAST_MS)
}

/** Ends what idled for its keep-alive and what took too long. */
function endIdleAndOverdue(turn: Turn): void {
  for (const instance of turn.state.instances) {
    const idleEnd = idleEndMs(instance)
    if (idleEnd !== undefined && idleEnd <= turn.nowMs) {
      turn.drain(instance, 'idle', `not used for ${Math.round(instance.spec.keepAliveMs / 1000)} s`)
    } else if (instance.deadlineMs !== undefined && instance.deadlineMs <= turn.nowMs) {
      turn.records.push({
        kind: 'evicted',
        ...{ model: instance.spec.name, instanceId: instance.id, reason: 'overdue' },
        because: `it was ${instance.state} for too long`,
      })
      turn.unload(instance)
      if (instance.state !== 'loading') continue
      turn.updateHistory(instance.spec.name, { failedMs: turn.nowMs })
      turn.refuse(instance.spec.name, { kind: 'overdue' })
    }
  }
}

function unloadDrained(turn: Turn): void {
  for (const instance of turn.state.instances) {
    if (instance.state === 'draining' && instance.inFlight === 0) turn.unload(instance)
  }
}

/** Others took memory that models lie in: idle ones go, before an allocation of a busy one fails. */
function makeGood(turn: Turn): void {
  for (const instance of relieve(turn.view, turn.policy.evict)) {
    turn.drain(instance, 'pressure', 'other processes took the memory of its device')
  }
}

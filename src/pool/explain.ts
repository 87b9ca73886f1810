import type { DecisionView, Explanation, MoveReport } from '../contracts/pool.ts'
import { planMoves } from '../scheduler/defragment.ts'
import { chooseVictims, type EvictionPlan } from '../scheduler/eviction.ts'
import type { Placement } from '../scheduler/placement/placement.ts'
import type { Instance, ModelSpec } from '../scheduler/state.ts'
import { viewOf } from '../scheduler/view.ts'
import type { PoolController } from './controller.ts'
import type { DatedRecord } from './journal.ts'

const DECISIONS_SHOWN_MAX = 20

/**
 * What would be done for the model now: the very functions that decide are asked, and nothing is done.
 * @param inFlight requests by instance, where there are any
 */
export function explain(
  { state, policy, nowMs, journal }: PoolController,
  spec: ModelSpec,
  inFlight: ReadonlyMap<string, number>,
): Explanation {
  const view = viewOf(state, nowMs)
  const placement = policy.place(view, spec)
  const eviction =
    placement.kind === 'unplaceable' && placement.reason === 'memory-exhausted'
      ? chooseVictims(view, spec, policy.evict, Number.POSITIVE_INFINITY)
      : undefined
  const instances = state.instances.filter((instance) => instance.spec.name === spec.name)
  return {
    model: spec.name,
    summary: [
      ...instances.map((one) => present(one, inFlight.get(one.id) ?? 0, nowMs)),
      next(placement, eviction),
    ].join('; '),
    candidates: placement.kind === 'placed' ? placement.candidates : [],
    evictions: eviction?.victims.map(({ id }) => id) ?? [],
    decisions: journal.decisions(spec.name).slice(0, DECISIONS_SHOWN_MAX).map(toView),
  }
}

/** The moves that would open a hole for the model, worth their cost or not. */
export function reportMoves({ state, policy, nowMs }: PoolController, spec: ModelSpec): MoveReport {
  const view = viewOf(state, nowMs)
  if (policy.place(view, spec).kind === 'placed') {
    return { model: spec.name, because: 'it fits without a move', moves: [] }
  }
  const proposal = planMoves(view, spec, { ...policy.defragment, gainMin: 0 })
  if (!proposal) return { model: spec.name, because: 'no moves would make room for it', moves: [] }
  const instances = new Map(state.instances.map((instance) => [instance.id, instance]))
  return {
    model: spec.name,
    because: proposal.because,
    moves: proposal.moves.map(({ instanceId, to, kind }) => ({
      instance: instanceId,
      model: instances.get(instanceId)?.spec.name ?? '',
      from: instances.get(instanceId)?.shares.map(({ deviceId }) => deviceId) ?? [],
      to: to.map(({ deviceId }) => deviceId),
      kind,
    })),
  }
}

function present({ id, state, shares, readySinceMs }: Instance, inFlight: number, nowMs: number): string {
  const devices = shares.map(({ deviceId }) => deviceId).join(', ')
  const since = readySinceMs === undefined ? '' : ` since ${Math.round((nowMs - readySinceMs) / 1000)} s`
  return `${id} is ${state} on ${devices}${since} with ${inFlight} requests`
}

function next(placement: Placement, eviction: EvictionPlan | undefined): string {
  if (placement.kind === 'placed') {
    const devices = placement.shares.map(({ deviceId }) => deviceId).join(', ')
    return `the next instance would go to ${devices}: ${placement.because}`
  }
  const { reason, neededBytes, largestBytes } = placement
  const needed = mebibytes(neededBytes)
  if (reason === 'no-device') return 'no device that its settings allow, with its file, is there'
  if (reason === 'larger-than-any-device') {
    return `it needs ${needed} and its devices could give it ${mebibytes(largestBytes)} at most: it never fits`
  }
  if (!eviction) return `it needs ${needed}, and nothing that may be unloaded would make that room`
  if (eviction.victims.length === 0) return `it needs ${needed}, which are on their way to be free`
  return `it needs ${needed}: ${eviction.victims.map(({ id }) => id).join(', ')} would be unloaded (${eviction.because})`
}

function toView({ calendarMs, record }: DatedRecord): DecisionView {
  return {
    atMs: calendarMs,
    kind: record.kind,
    instance: 'instanceId' in record ? record.instanceId : undefined,
    because: record.because,
  }
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`
}

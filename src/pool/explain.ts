import type { Explanation, MoveReport } from '../contracts/pool.ts'
import { planMoves } from '../scheduler/defragment.ts'
import { chooseVictims } from '../scheduler/eviction.ts'
import type { ModelSpec } from '../scheduler/state.ts'
import { viewOf } from '../scheduler/view.ts'
import type { PoolController } from './controller.ts'

/** What would be done for the model now: the very functions that decide are asked, and nothing is done. */
export function explain({ state, policy, nowMs }: PoolController, spec: ModelSpec): Explanation {
  const view = viewOf(state, nowMs)
  const placement = policy.place(view, spec)
  const eviction =
    placement.kind === 'placed'
      ? undefined
      : chooseVictims(view, spec, policy.evict, Number.POSITIVE_INFINITY)
  return {
    model: spec.name,
    summary:
      placement.kind === 'placed'
        ? `would go to ${placement.shares.map(({ deviceId }) => deviceId).join(', ')}: ${placement.because}`
        : `cannot be placed: ${placement.reason}`,
    candidates: placement.kind === 'placed' ? placement.candidates : [],
    evictions: eviction?.victims.map(({ id }) => id) ?? [],
    decisions: [],
  }
}

export function reportMoves({ state, policy, nowMs }: PoolController, spec: ModelSpec): MoveReport {
  const view = viewOf(state, nowMs)
  if (policy.place(view, spec).kind === 'placed') {
    return { model: spec.name, because: 'it fits without a move', moves: [] }
  }
  const proposal = planMoves(view, spec, policy.defragment)
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

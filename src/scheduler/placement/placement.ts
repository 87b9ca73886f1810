import type { ScoredCandidate } from '../records.ts'
import { type ModelSpec, type Share, shareBytes } from '../state.ts'
import { type ClusterView, isAllowedOn } from '../view.ts'

/** A strategy decides and does nothing else: no clock, no log, no I/O, no mutation. */
export type PlacementStrategy = (view: ClusterView, spec: ModelSpec) => Placement

export type Placement =
  | {
      readonly kind: 'placed'
      readonly nodeId: string
      readonly shares: readonly Share[]
      readonly because: string
      /** What else was looked at, the best first. */
      readonly candidates: readonly ScoredCandidate[]
    }
  | {
      readonly kind: 'unplaceable'
      /** `no-device`: none is allowed and alive. `larger-than-any-device`: even empty ones would not do. */
      readonly reason: 'no-device' | 'larger-than-any-device' | 'memory-exhausted'
      readonly neededBytes: number
      /** The most that the allowed devices could give it, were they empty. */
      readonly largestBytes: number
    }

/** Devices that together hold one instance: one, or several of one node. */
export interface Spot {
  readonly nodeId: string
  readonly shares: readonly Share[]
}

/** Turns a choice among the spots with room into a Placement, with the reason when there is none. */
export function place(
  view: ClusterView,
  spec: ModelSpec,
  choose: (spots: readonly Spot[]) => { readonly spot: Spot; readonly because: string } | undefined,
): Placement {
  const allowed = view.state.devices.filter((device) => isAllowedOn(spec, device))
  const spots = allowed
    .filter(({ id, health }) => health === 'ok' && (view.freeBytes.get(id) ?? 0) >= spec.memoryBytes)
    .map(({ id, nodeId }) => ({ nodeId, shares: [{ deviceId: id, bytes: shareBytes(spec, 1) }] }))
  const chosen = choose(spots)
  if (chosen) return { kind: 'placed', ...chosen.spot, because: chosen.because, candidates: [] }
  const largestBytes = Math.max(0, ...allowed.map(({ totalBytes }) => totalBytes))
  const never = largestBytes < spec.memoryBytes ? 'larger-than-any-device' : 'memory-exhausted'
  const reason = allowed.length === 0 ? 'no-device' : never
  return { kind: 'unplaceable', reason, neededBytes: spec.memoryBytes, largestBytes }
}

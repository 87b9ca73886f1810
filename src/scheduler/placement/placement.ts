import { type ClusterState, type Device, freeBytes } from '../state.ts'

/** A strategy decides and does nothing else: no clock, no log, no I/O, no mutation. */
export type PlacementStrategy = (state: ClusterState, neededBytes: number) => Placement

export type Placement =
  | { readonly kind: 'placed'; readonly deviceId: string }
  | {
      readonly kind: 'unplaceable'
      readonly reason: 'no-device' | 'larger-than-any-device' | 'memory-exhausted'
    }

/** Turns a choice among the devices with room into a Placement, with the reason when there is none. */
export function place(
  state: ClusterState,
  neededBytes: number,
  choose: (candidates: readonly Device[]) => Device | undefined,
): Placement {
  const chosen = choose(state.devices.filter((device) => freeBytes(state, device) >= neededBytes))
  if (chosen) return { kind: 'placed', deviceId: chosen.id }
  if (state.devices.length === 0) return { kind: 'unplaceable', reason: 'no-device' }
  const couldEverFit = state.devices.some((device) => device.totalBytes >= neededBytes)
  return { kind: 'unplaceable', reason: couldEverFit ? 'memory-exhausted' : 'larger-than-any-device' }
}

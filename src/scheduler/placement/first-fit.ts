import { type PlacementStrategy, place } from './placement.ts'

/** The first device, in the order they were registered, that has room. */
export const firstFit: PlacementStrategy = (state, neededBytes) =>
  place(state, neededBytes, (candidates) => candidates[0])

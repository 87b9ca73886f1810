import { type PlacementStrategy, place } from './placement.ts'

/** The first device, in the order they were registered, that has room. */
export const firstFit: PlacementStrategy = (view, spec) =>
  place(view, spec, ([spot]) => spot && { spot, because: 'the first with room' })

import { type PlacementStrategy, place } from './placement.ts'

/** The first device, in the order they were registered, that has room. */
export const firstFit: PlacementStrategy = (view, spec) =>
  place(view, spec, {
    // Nothing speaks against any: equals stay in their order.
    parts: [],
    inSeconds: false,
    against: () => [],
    because: () => 'the first with room',
  })

import { type PlacementStrategy, place } from './placement.ts'

/** The device on which the fewest requests are being answered; of equals the one with the most free memory. */
export const leastLoaded: PlacementStrategy = (view, spec) =>
  place(view, spec, {
    parts: ['inFlight', 'lessFreeBytes'],
    inSeconds: false,
    against: ({ id }) => {
      let inFlight = 0
      for (const instance of view.instancesOn.get(id) ?? []) inFlight += instance.inFlight
      return [inFlight, -(view.freeBytes.get(id) ?? 0)]
    },
    because: ([inFlight = 0]) => `fewest requests, ${inFlight}`,
  })

import { type PlacementStrategy, place } from './placement.ts'

/** The next device with room after the one that was placed on last. */
export const roundRobin: PlacementStrategy = (view, spec) => {
  const { devices, lastPlacedOn } = view.state
  const positions = new Map(devices.map(({ id }, position) => [id, position]))
  // -1 before the first placement, and after the device has gone.
  const last = (lastPlacedOn === undefined ? undefined : positions.get(lastPlacedOn)) ?? -1
  return place(view, spec, {
    parts: ['turnsAway'],
    inSeconds: false,
    against: ({ id }) => [((positions.get(id) ?? 0) - last - 1 + devices.length) % devices.length],
    because: () => (last < 0 ? 'the first in turn' : `next in turn after ${lastPlacedOn}`),
  })
}

import { auto } from './auto.ts'
import { bestFit } from './best-fit.ts'
import { firstFit } from './first-fit.ts'
import { leastLoaded } from './least-loaded.ts'
import type { PlacementStrategy } from './placement.ts'
import { roundRobin } from './round-robin.ts'

/** Every strategy, by the name used in helixflow.yaml. To add one: one file, one line here. */
export const placementStrategies = {
  auto,
  'best-fit': bestFit,
  'first-fit': firstFit,
  'least-loaded': leastLoaded,
  'round-robin': roundRobin,
} as const satisfies Record<string, PlacementStrategy>

import { firstFit } from './first-fit.ts'
import type { PlacementStrategy } from './placement.ts'

/** Every strategy, by the name used in helixflow.yaml. To add one: one file, one line here. */
export const placementStrategies = {
  auto: firstFit,
  'best-fit': firstFit,
  'first-fit': firstFit,
  'least-loaded': firstFit,
  'round-robin': firstFit,
} as const satisfies Record<string, PlacementStrategy>

export type PlacementStrategyName = keyof typeof placementStrategies

import type { Random } from '../../src/core/random.ts'
import { HOUR_MS, poissonTimes } from './model-trace.ts'

/** Ways in which models are asked for, each as times from zero to `endMs`, in order. */
export const arrivalPatterns = {
  /** Four an hour, whenever. */
  poisson: (random, endMs) => poissonTimes(random, 4 / HOUR_MS, endMs),
  /** Every two hours by a timer that is up to a minute late. */
  periodic: (random, endMs) =>
    Array.from({ length: Math.floor(endMs / (2 * HOUR_MS)) }, (_, round) => {
      return round * 2 * HOUR_MS + random.uniform() * 60_000
    }),
  /** Six an hour from eight to six, and hardly ever at night. */
  diurnal: (random, endMs) =>
    poissonTimes(random, 6 / HOUR_MS, endMs).filter((time) => {
      const hour = (time / HOUR_MS) % 24
      return (hour >= 8 && hour < 18) || random.uniform() < 0.02
    }),
  /** Bursts of thirty in ten minutes, about five of them a day. */
  bursty: (random, endMs) =>
    poissonTimes(random, 5 / (24 * HOUR_MS), endMs)
      .flatMap((start) => Array.from({ length: 30 }, () => start + random.uniform() * 600_000))
      .filter((time) => time < endMs)
      .sort((a, b) => a - b),
} as const satisfies Record<string, (random: Random, endMs: number) => number[]>

/** How much of the trust is shared out anew at each lesson, so that a way that was bad for long can come back. */
const SHARED_ANEW = 0.01
/** No way to forecast is ever certain: one surprise would cost it all trust. */
const CHANCE_MIN = 1e-4

/**
 * The trust in each way to forecast after what it said is held against what came: in proportion to the chance that it
 * gave to that, which is Bayes' rule and the sum of the logarithmic losses. Part of it is shared out anew: "fixed
 * share" of Herbster and Warmuth, "Tracking the best expert" (1998).
 */
export function trustAfter(
  weights: readonly number[],
  guesses: readonly number[],
  came: boolean,
): readonly number[] {
  const likely = weights.map((weight, index) => {
    const guess = bounded(guesses[index] ?? 0)
    return weight * (came ? guess : 1 - guess)
  })
  const sum = likely.reduce((total, one) => total + one, 0)
  return likely.map((one) => (1 - SHARED_ANEW) * (one / sum) + SHARED_ANEW / weights.length)
}

/** What they say together. */
export function blended(weights: readonly number[], chances: readonly number[]): number {
  let sum = 0
  for (let index = 0; index < chances.length; index++) sum += (weights[index] ?? 0) * (chances[index] ?? 0)
  return bounded(sum)
}

function bounded(chance: number): number {
  return Math.min(1 - CHANCE_MIN, Math.max(CHANCE_MIN, chance))
}

import type { Random } from '../core/random.ts'

/** Standard normal, by Box and Muller. */
export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.uniform())) * Math.cos(2 * Math.PI * random.uniform())
}

export function exponential(random: Random, mean: number): number {
  return -mean * Math.log(1 - random.uniform())
}

/** Gamma by Marsaglia and Tsang (2000); below a shape of 1 by their own correction. */
export function gamma(random: Random, shape: number, scale: number): number {
  if (shape < 1) return gamma(random, shape + 1, scale) * (1 - random.uniform()) ** (1 / shape)
  const d = shape - 1 / 3
  const c = 1 / Math.sqrt(9 * d)
  for (;;) {
    const x = normal(random)
    const v = (1 + c * x) ** 3
    if (v <= 0) continue
    const u = 1 - random.uniform()
    if (Math.log(u) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v * scale
  }
}

export function weibull(random: Random, shape: number, scale: number): number {
  return scale * (-Math.log(1 - random.uniform())) ** (1 / shape)
}

/** A count with that mean, at least 1, spread like lengths of prompts and answers are. */
export function lognormalCount(random: Random, mean: number, sigma: number): number {
  return Math.max(1, Math.round(mean * Math.exp(sigma * normal(random) - (sigma * sigma) / 2)))
}

/** Draws places 0 to count - 1, the k-th with weight 1 / (k + 1)^exponent. */
export function zipf(count: number, exponent: number): (random: Random) => number {
  let total = 0
  const bounds = Array.from({ length: count }, (_, place) => {
    total += 1 / (place + 1) ** exponent
    return total
  })
  return (random) => {
    const drawn = random.uniform() * total
    let [low, high] = [0, count - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((bounds[middle] ?? total) > drawn) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** Chance as an argument, so that whatever uses it can be replayed from a seed. */
export interface Random {
  /** Uniform in [0, 1). */
  uniform(): number
}

/** A small seeded generator (mulberry32, public domain). For tests and the simulator, never for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return {
    uniform: () => {
      state = (state + 0x6d2b79f5) >>> 0
      let mixed = Math.imul(state ^ (state >>> 15), state | 1)
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
    },
  }
}

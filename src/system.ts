import { randomBytes } from 'node:crypto'
import type { Clock } from './core/clock.ts'

/** The machine's own time. With `randomness`, the only place where a service gets either from. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule: (delayMs, task) => {
    const timer = setTimeout(task, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  },
}

export interface Randomness {
  /** Uniform in [0, 1). */
  uniform(): number
  bytes(length: number): Uint8Array
}

export const systemRandomness: Randomness = {
  uniform: () => Math.random(),
  bytes: (length) => randomBytes(length),
}

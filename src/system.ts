import type { Clock } from './core/clock.ts'
import type { Random } from './core/random.ts'

/** The machine's own time. With `systemRandom`, the only place where a service gets either from. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule: (delayMs, task) => {
    const timer = setTimeout(task, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  },
}

export const systemRandom: Random = { uniform: () => Math.random() }

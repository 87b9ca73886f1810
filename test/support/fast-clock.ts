import type { Clock } from '../../src/core/clock.ts'
import { systemClock } from '../../src/system.ts'

/** A clock by which so many times as much goes by: what must last for minutes has lasted after seconds. */
export function fastClock(speed: number): Clock {
  const startMs = systemClock.now()
  const passedMs = (sinceMs: number, nowMs: number) => (nowMs - sinceMs) * speed
  return {
    now: () => startMs + passedMs(startMs, systemClock.now()),
    monotonic: () => passedMs(0, systemClock.monotonic()),
    schedule: (delayMs, task) => systemClock.schedule(delayMs / speed, task),
  }
}

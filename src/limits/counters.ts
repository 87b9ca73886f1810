import { budget } from './budget.ts'
import type { Counter, CounterKind } from './counter.ts'
import { fixedWindow } from './fixed-window.ts'
import { gauge } from './gauge.ts'
import { slidingWindow } from './sliding-window.ts'
import { tokenBucket } from './token-bucket.ts'

/** Every way to count, by name. The state of each is its own and is only ever handed back to it. */
export const COUNTERS = {
  'token-bucket': tokenBucket,
  'sliding-window': slidingWindow,
  'fixed-window': fixedWindow,
  gauge,
  budget,
} as const satisfies Record<CounterKind, object>

/** That way, for a caller who keeps states without looking into them. */
export function counterOf(kind: CounterKind): Counter<unknown> {
  return COUNTERS[kind] as Counter<unknown>
}

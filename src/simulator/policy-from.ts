import type { Config } from '../config/schema.ts'
import { HelixError } from '../core/errors.ts'
import { placementStrategies } from '../scheduler/placement/strategies.ts'
import type { Policy } from '../scheduler/policy.ts'

const CRASH_PAUSE_MS = 500
const CRASH_PAUSE_MAX_MS = 10_000
const CRASH_WINDOW_MS = 600_000
const PLAN_TIMEOUT_MS = 300_000
/** Seconds that a plan must save for each second that it costs. */
const PLAN_GAIN_MIN = 1.2

/** The policy that these settings give, as the pool makes it. */
export function policyFrom({ scheduler, engines }: Pick<Config, 'scheduler' | 'engines'>): Policy {
  return {
    place: strategyNamed(scheduler.strategy),
    evict: {
      by: scheduler.eviction,
      residencyMinMs: scheduler.residencyMin,
      swapWaitMs: scheduler.swapWait,
    },
    defragment: {
      enabled: scheduler.defragment,
      movesMax: scheduler.defragmentMovesMax,
      gainMin: PLAN_GAIN_MIN,
      planTimeoutMs: PLAN_TIMEOUT_MS,
    },
    prefetch: {
      enabled: scheduler.prefetch,
      wasteMax: scheduler.prefetchWasteMax,
      precisionMin: scheduler.prefetchPrecisionMin,
    },
    scale: { busyMax: scheduler.replicaBusyMax, downAfterMs: scheduler.replicaIdle },
    transitionTimeoutMs: engines.startTimeout,
    ...{ crashPauseMs: CRASH_PAUSE_MS, crashPauseMaxMs: CRASH_PAUSE_MAX_MS, crashWindowMs: CRASH_WINDOW_MS },
    crashesMax: engines.crashesMax,
  }
}

function strategyNamed(name: string): Policy['place'] {
  const strategy = Object.entries(placementStrategies).find(([known]) => known === name)?.[1]
  if (strategy) return strategy
  const known = Object.keys(placementStrategies).join(', ')
  throw new HelixError('invalid_arguments', `There is no strategy '${name}'; there are ${known}.`)
}

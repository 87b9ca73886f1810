import { parseConfig } from '../src/config/schema.ts'
import { policyOf } from '../src/pool/start.ts'
import type { Device } from '../src/scheduler/state.ts'
import { devicesFrom, modelOfSize } from '../src/simulator/fleet.ts'
import type { WorkloadRequest } from '../src/simulator/job.ts'
import type { CostRules, GatewayRules, Scenario } from '../src/simulator/scenario.ts'
import type { StepModel } from '../src/simulator/step-model.ts'

const GIB = 2 ** 30

export const GATEWAY: GatewayRules = {
  ...{
    routing: 'least-loaded',
    fairness: 'tokens',
    queueMax: 100_000,
    waitMaxMs: 3_600_000,
    patienceMs: undefined,
  },
  demandEveryMs: 1_000,
}

export const COSTS: CostRules = {
  ...{ unloadMs: 160, pageCacheBytes: 64 * GIB, loadCrashChance: 0, crashesPerHour: 0 },
}

export type SchedulerWishes = Readonly<Record<string, string | boolean | number>>

/** The policy that the pool would make of these settings. */
export function policyWith(scheduler: SchedulerWishes): Scenario['policy'] {
  return policyOf(parseConfig({ scheduler }))
}

/** One engine that is there from the start. */
export function oneInstance(steps: StepModel, slots: number, requests: readonly WorkloadRequest[]): Scenario {
  const devices: readonly Device[] = devicesFrom('1x8GiB', 'node')
  const wishes = { name: 'model', nodes: ['node'], keepAliveMs: 1e9, replicasMax: 1, slots }
  const plain = modelOfSize({ ...wishes, memoryBytes: GIB })
  return {
    ...{ devices, requests, gateway: GATEWAY, costs: COSTS, calendarStartMs: 0, seed: 1 },
    models: [{ ...plain, steps, spec: { ...plain.spec, loadMs: 0, cachedLoadMs: 0 } }],
    policy: policyWith({ strategy: 'first-fit', eviction: 'lru', prefetch: false }),
  }
}

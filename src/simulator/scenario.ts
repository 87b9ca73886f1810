import type { SchedulerAction } from '../scheduler/actions.ts'
import type { SchedulerEvent } from '../scheduler/events.ts'
import type { FairQueueOptions } from '../scheduler/fair-queue.ts'
import type { Policy } from '../scheduler/policy.ts'
import type { ClusterState, Device, ModelSpec } from '../scheduler/state.ts'
import type { WorkloadRequest } from './job.ts'
import type { StepModel } from './step-model.ts'

/** All that a replay depends on: the same scenario gives the same outcome to the last digit. */
export interface Scenario {
  readonly devices: readonly Device[]
  readonly models: readonly ModelProfile[]
  /** In the order they come. */
  readonly requests: readonly WorkloadRequest[]
  readonly policy: Policy
  readonly gateway: GatewayRules
  readonly costs: CostRules
  /** What the calendar says when the trace begins. */
  readonly calendarStartMs: number
  /** For what fails by chance; the workload has a seed of its own. */
  readonly seed: number
}

/** A model, with what its engine costs. */
export interface ModelProfile {
  readonly spec: ModelSpec
  readonly steps: StepModel
  readonly fileBytes: number
  /** Prefix blocks that one instance can hold. */
  readonly prefixBlocksMax: number
}

export interface GatewayRules {
  readonly routing: 'prefix' | 'least-loaded'
  /** Who of those that wait is next. */
  readonly fairness: FairQueueOptions['by']
  /** Requests that may wait, per model. */
  readonly queueMax: number
  /** A request that waited this long for a slot or a load is refused. */
  readonly waitMaxMs: number
  /** A client that has no token after this time leaves; undefined: clients wait as long as they are let. */
  readonly patienceMs: number | undefined
  /** How often the pool hears what was asked for. */
  readonly demandEveryMs: number
}

export interface CostRules {
  /** From the order to end an engine to its memory being free. */
  readonly unloadMs: number
  /** Of each node, for model files that were read once. */
  readonly pageCacheBytes: number
  /** Share of loads that end in a crash. */
  readonly loadCrashChance: number
  /** Of each ready instance. */
  readonly crashesPerHour: number
}

/** Sees every decision as it is made, for checks and drawings. */
export type DecisionWatcher = (decision: {
  readonly state: ClusterState
  readonly event: SchedulerEvent
  readonly actions: readonly SchedulerAction[]
  readonly nowMs: number
}) => void

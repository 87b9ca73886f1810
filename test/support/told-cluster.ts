import type { SchedulerAction } from '../../src/scheduler/actions.ts'
import { type Decision, decide } from '../../src/scheduler/decide.ts'
import type { SchedulerEvent } from '../../src/scheduler/events.ts'
import type { Policy } from '../../src/scheduler/policy.ts'
import type { ClusterState, Instance } from '../../src/scheduler/state.ts'
import { plainPolicy } from './cluster.ts'

/** A cluster that is told what happens, and whose time the test keeps. */
export class Told {
  decision: Decision
  readonly actions: SchedulerAction[] = []

  constructor(
    start: ClusterState,
    private readonly policy: Policy = plainPolicy,
  ) {
    this.decision = { state: start, actions: [], records: [] }
  }

  at(nowMs: number, event: SchedulerEvent): this {
    this.decision = decide(this.decision.state, event, this.policy, nowMs)
    this.actions.push(...this.decision.actions)
    return this
  }

  get state(): ClusterState {
    return this.decision.state
  }

  get kinds(): readonly string[] {
    return this.decision.actions.map((action) =>
      'instanceId' in action ? `${action.kind} ${action.instanceId}` : action.kind,
    )
  }

  one(id: string): Instance | undefined {
    return this.state.instances.find((each) => each.id === id)
  }
}

export const tick: SchedulerEvent = { kind: 'time-passed' }

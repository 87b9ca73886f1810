import { seededRandom } from '../core/random.ts'
import type { ClusterState } from '../scheduler/state.ts'
import { type Job, newJob } from './job.ts'
import { MemoryMeter, type MemoryUse } from './memory-meter.ts'
import { ReplayedGateway } from './replayed-gateway.ts'
import { type LoadRecord, ReplayedPool } from './replayed-pool.ts'
import type { DecisionWatcher, Scenario } from './scenario.ts'
import { Timeline } from './timeline.ts'

/** Everything that happened in a replay, as it happened. */
export interface Outcome {
  /** In the order of the trace. */
  readonly jobs: readonly Job[]
  readonly loads: readonly LoadRecord[]
  readonly memory: MemoryUse
  /** By device: the time that something computed on it. */
  readonly busyMs: ReadonlyMap<string, number>
  /** From the first arrival to the last end. */
  readonly durationMs: number
  readonly finalState: ClusterState
}

/**
 * Plays a workload through the scheduler that runs live, on a clock that jumps from event to event. Ends when every
 * request has ended.
 */
export function replay(scenario: Scenario, watch: DecisionWatcher = () => {}): Outcome {
  const timeline = new Timeline(scenario.calendarStartMs)
  const jobs = scenario.requests.map(newJob)
  const meter = new MemoryMeter(scenario.devices)
  let left = jobs.length
  let endMs = 0
  const gateway = new ReplayedGateway(scenario, timeline, () => {
    left -= 1
    endMs = timeline.monotonic()
  })
  const pool = new ReplayedPool(scenario, timeline, {
    random: seededRandom(scenario.seed),
    listener: gateway,
    watch: (decision) => {
      meter.look(decision.state, decision.nowMs)
      watch(decision)
    },
  })
  gateway.connect(pool)
  pool.post({ kind: 'models-known', specs: scenario.models.map(({ spec }) => spec) })
  arriveInTurn(jobs, timeline, gateway)
  sayDemand(scenario, timeline, { gateway, pool })
  while (left > 0 && timeline.step()) {}
  const nowMs = timeline.monotonic()
  return {
    ...{ jobs, loads: pool.loads, busyMs: pool.deviceLoad.busyMs(nowMs), durationMs: endMs },
    ...{ memory: meter.total(nowMs), finalState: pool.state },
  }
}

/** One arrival in the heap at a time keeps it small however long the trace is. */
function arriveInTurn(jobs: readonly Job[], timeline: Timeline, gateway: ReplayedGateway): void {
  const next = (index: number) => {
    const job = jobs[index]
    if (!job) return
    timeline.schedule(job.request.arrivalMs - timeline.monotonic(), () => {
      next(index + 1)
      gateway.accept(job)
    })
  }
  next(0)
}

function sayDemand(
  { gateway: { demandEveryMs } }: Scenario,
  timeline: Timeline,
  { gateway, pool }: { readonly gateway: ReplayedGateway; readonly pool: ReplayedPool },
): void {
  const say = () => {
    pool.post({ kind: 'demand', calendarMs: timeline.now(), models: gateway.demand() })
    timeline.schedule(demandEveryMs, say)
  }
  timeline.schedule(demandEveryMs, say)
}

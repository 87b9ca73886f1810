import type { Metrics } from '../core/metrics.ts'
import type { Decision } from '../scheduler/decide.ts'
import type { SchedulerEvent } from '../scheduler/events.ts'
import { EvictionRegrets } from '../scheduler/regrets.ts'
import type { ClusterState } from '../scheduler/state.ts'

/** An event with what it met, and how long it took to decide. */
export interface Decided {
  readonly event: SchedulerEvent
  readonly before: ClusterState
  readonly nowMs: number
  readonly tookMs: number
}

/** What the pool counts of its decisions, as they are made. */
export class PoolMetrics {
  private readonly regrets = new EvictionRegrets()

  constructor(
    private readonly metrics: Metrics,
    private readonly strategy: string,
  ) {}

  decided(decision: Decision, { event, before, nowMs, tookMs }: Decided): void {
    const { metrics } = this
    metrics.observe('helixflow_decide_seconds', { event: event.kind }, tookMs / 1000)
    for (const record of decision.records) {
      if (record.kind === 'placed') this.placed('placed')
      if (record.kind === 'refused') this.placed('refused')
      if (record.kind === 'waits') this.placed('waits')
      if (record.kind === 'evicted') metrics.add('helixflow_model_evictions_total', { reason: record.reason })
    }
    const { prefetches } = decision.state
    if (prefetches !== before.prefetches) {
      if (prefetches.useful > before.prefetches.useful) this.prefetched('useful')
      if (prefetches.useless > before.prefetches.useless) this.prefetched('useless')
    }
    if (event.kind === 'instance-gone' && event.why !== 'stopped') this.exited(event, before)
    const regretted = this.regrets.decided(decision, event, nowMs)
    if (regretted > 0) metrics.add('helixflow_eviction_regrets_total', {}, regretted)
  }

  loaded(model: string, tookMs: number): void {
    this.metrics.observe('helixflow_model_load_seconds', { model }, tookMs / 1000)
    // Begins at 0: nobody would see that a series which begins with 1 has grown.
    for (const why of ['crashed', 'killed'])
      this.metrics.add('helixflow_engine_exits_total', { model, why }, 0)
  }

  private placed(outcome: string): void {
    this.metrics.add('helixflow_placement_total', { strategy: this.strategy, outcome })
  }

  private prefetched(outcome: string): void {
    this.metrics.add('helixflow_prefetch_total', { outcome })
  }

  private exited(
    { instanceId, why }: Extract<SchedulerEvent, { kind: 'instance-gone' }>,
    { instances }: ClusterState,
  ): void {
    const instance = instances.find(({ id }) => id === instanceId)
    // One that was told to go may well die of it.
    if (!instance || instance.state === 'unloading') return
    this.metrics.add('helixflow_engine_exits_total', { model: instance.spec.name, why })
  }
}

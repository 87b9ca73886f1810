import type { DeviceReport } from '../contracts/node.ts'
import type { Metrics } from '../core/metrics.ts'
import type { Decision } from '../scheduler/decide.ts'
import { fragmentationRatio } from '../scheduler/fragmentation.ts'
import type { ClusterState } from '../scheduler/state.ts'
import { viewOf } from '../scheduler/view.ts'

const STATES = ['loading', 'ready', 'draining', 'unloading'] as const

/** What the pool counts of its decisions and of the devices. */
export class PoolMetrics {
  private readonly shown = new Set<string>()
  private readonly devicesShown = new Set<string>()

  constructor(
    private readonly metrics: Metrics,
    private readonly strategy: string,
  ) {}

  decided({ state, records }: Decision, before: ClusterState): void {
    for (const record of records) {
      if (record.kind === 'placed') this.placed('placed')
      if (record.kind === 'refused') this.placed('refused')
      if (record.kind === 'waits') this.placed('waits')
      if (record.kind === 'evicted') {
        this.metrics.add('helixflow_model_evictions_total', { reason: record.reason })
      }
    }
    const { prefetches } = state
    if (prefetches !== before.prefetches) {
      if (prefetches.useful > before.prefetches.useful) this.prefetched('useful')
      if (prefetches.useless > before.prefetches.useless) this.prefetched('useless')
    }
    if (state.instances !== before.instances) this.showInstances(state)
  }

  loaded(model: string, tookMs: number): void {
    this.metrics.observe('helixflow_model_load_seconds', { model }, tookMs / 1000)
  }

  /** What devices say, beside what is reckoned for models. */
  devices(state: ClusterState, reports: readonly DeviceReport[]): void {
    const view = viewOf(state, 0)
    const { freeBytes } = view
    this.metrics.set('helixflow_fragmentation_ratio', {}, fragmentationRatio(view))
    // Whoever watches must see that one went with its node.
    for (const device of this.devicesShown) this.metrics.set('helixflow_device_healthy', { device }, 0)
    for (const report of reports) {
      const device = report.id
      this.devicesShown.add(device)
      const free = freeBytes.get(device) ?? 0
      const kinds = {
        total: report.totalBytes,
        foreign: report.foreignBytes,
        models: report.totalBytes - report.foreignBytes - free,
        free: Math.max(0, free),
        ...(report.usedBytes !== undefined && { used: report.usedBytes }),
      }
      for (const [kind, bytes] of Object.entries(kinds)) {
        this.metrics.set('helixflow_device_memory_bytes', { device, kind }, bytes)
      }
      const { utilization, powerWatts, temperatureCelsius } = report
      if (utilization !== undefined) {
        this.metrics.set('helixflow_device_utilization_ratio', { device }, utilization)
      }
      if (powerWatts !== undefined) this.metrics.set('helixflow_device_power_watts', { device }, powerWatts)
      if (temperatureCelsius !== undefined) {
        this.metrics.set('helixflow_device_temperature_celsius', { device }, temperatureCelsius)
      }
      this.metrics.set('helixflow_device_healthy', { device }, report.health === 'ok' ? 1 : 0)
    }
  }

  private placed(outcome: string): void {
    this.metrics.add('helixflow_placement_total', { strategy: this.strategy, outcome })
  }

  private prefetched(outcome: string): void {
    this.metrics.add('helixflow_prefetch_total', { outcome })
  }

  private showInstances({ instances }: ClusterState): void {
    const counts = new Map<string, number>()
    for (const { spec, state } of instances) {
      const key = JSON.stringify([spec.name, state])
      counts.set(key, (counts.get(key) ?? 0) + 1)
      this.shown.add(spec.name)
    }
    for (const model of this.shown) {
      for (const state of STATES) {
        const count = counts.get(JSON.stringify([model, state])) ?? 0
        this.metrics.set('helixflow_model_instances', { model, state }, count)
      }
    }
  }
}

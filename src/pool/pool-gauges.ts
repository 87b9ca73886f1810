import type { DeviceReport } from '../contracts/node.ts'
import type { Metrics } from '../core/metrics.ts'
import { strandedRatio } from '../scheduler/fragmentation.ts'
import type { Policy } from '../scheduler/policy.ts'
import { isPrefetching } from '../scheduler/prefetch.ts'
import { agedLedger } from '../scheduler/prefetch-ledger.ts'
import type { ClusterState, Instance } from '../scheduler/state.ts'
import { viewOf } from '../scheduler/view.ts'
import { Departed } from './departed.ts'
import type { NodeDirectory } from './node-directory.ts'

export interface PoolGaugesParts {
  readonly metrics: Metrics
  readonly nodes: NodeDirectory
  readonly pool: { readonly state: ClusterState; readonly policy: Policy; readonly nowMs: number }
  /** What the devices of each node said last. */
  readonly reports: ReadonlyMap<string, readonly DeviceReport[]>
}

const STATES = ['loading', 'ready', 'draining', 'unloading'] as const
const REASONS = ['loading', 'room', 'paused'] as const

/**
 * What is now, as the pool that leads knows it. Looked up when somebody reads it; a pool that leads no more shows nothing
 * of what it knew, for the next one shows it.
 */
export class PoolGauges {
  private readonly models = new Set<string>()
  /** Where each model has lain: what it takes there is 0 afterwards, for a mean over time must know that it was gone. */
  private readonly places = new Map<string, Set<string>>()
  private readonly devices = new Departed()
  private readonly nodes = new Departed()
  private end: () => void = () => {}

  constructor(private readonly parts: PoolGaugesParts) {}

  start(): void {
    const { metrics } = this.parts
    metrics.set('helixflow_pool_leader', {}, 1)
    this.end = metrics.beforeRead(() => this.collect())
  }

  stop(): void {
    const { metrics } = this.parts
    this.end()
    metrics.set('helixflow_pool_leader', {}, 0)
    this.dropModels()
    this.dropDevices({})
    metrics.drop('helixflow_device_healthy', {})
    metrics.drop('helixflow_node_up', {})
    metrics.drop('helixflow_models_waiting', {})
    metrics.drop('helixflow_fragmentation_ratio', {})
    metrics.drop('helixflow_prefetch_precision_ratio', {})
    metrics.drop('helixflow_prefetch_active', {})
  }

  private collect(): void {
    const { metrics, pool, nodes, reports } = this.parts
    const { state, nowMs } = pool
    this.showInstances(state)
    this.showWaiting(state, nowMs)
    this.showPrefetches()
    metrics.set('helixflow_fragmentation_ratio', {}, strandedRatio(viewOf(state, nowMs)))
    this.showDevices([...reports.values()].flat())
    const here = nodes.all().map(({ nodeId }) => nodeId)
    for (const node of here) metrics.set('helixflow_node_up', { node }, 1)
    const { lost, forgotten } = this.nodes.look(here, nowMs)
    for (const node of lost) metrics.set('helixflow_node_up', { node }, 0)
    for (const node of forgotten) metrics.drop('helixflow_node_up', { node })
  }

  private showInstances({ instances, models }: ClusterState): void {
    const { metrics } = this.parts
    const counts = new Map<string, Record<Instance['state'], number>>()
    // Of those that ran once it is said that none does, until there are none in the files either.
    for (const model of this.models) if (models[model]) counts.set(model, { ...NONE })
    const bytesOn = this.emptyPlaces(models)
    for (const { spec, state, shares } of instances) {
      const count = counts.get(spec.name) ?? { ...NONE }
      count[state] += 1
      counts.set(spec.name, count)
      const taken = bytesOn.get(spec.name) ?? new Map<string, number>()
      for (const { deviceId, bytes } of shares) taken.set(deviceId, (taken.get(deviceId) ?? 0) + bytes)
      bytesOn.set(spec.name, taken)
    }
    this.dropModels()
    for (const [model, count] of counts) {
      this.models.add(model)
      for (const state of STATES) metrics.set('helixflow_model_instances', { model, state }, count[state])
      for (const [device, bytes] of bytesOn.get(model) ?? [])
        metrics.set('helixflow_model_memory_bytes', { model, device }, bytes)
      this.places.set(model, new Set(bytesOn.get(model)?.keys()))
    }
  }

  /** Of models and devices that are still there. */
  private emptyPlaces(models: ClusterState['models']): Map<string, Map<string, number>> {
    const present = new Set([...this.parts.reports.values()].flat().map(({ id }) => id))
    const empty = new Map<string, Map<string, number>>()
    for (const [model, devices] of this.places) {
      if (!models[model]) this.places.delete(model)
      else empty.set(model, new Map([...devices].filter((id) => present.has(id)).map((id) => [id, 0])))
    }
    return empty
  }

  private dropModels(): void {
    this.models.clear()
    this.parts.metrics.drop('helixflow_model_instances', {})
    this.parts.metrics.drop('helixflow_model_memory_bytes', {})
  }

  private showWaiting({ instances, waiting }: ClusterState, nowMs: number): void {
    const ready = new Set<string>()
    for (const { spec, state } of instances) if (state === 'ready') ready.add(spec.name)
    const reasons = new Map<string, (typeof REASONS)[number]>()
    for (const { spec, notBeforeMs } of waiting)
      reasons.set(spec.name, notBeforeMs > nowMs ? 'paused' : 'room')
    for (const { spec, state, purpose } of instances)
      if (state === 'loading' && purpose !== 'prefetch') reasons.set(spec.name, 'loading')
    for (const reason of REASONS) {
      let count = 0
      for (const [model, why] of reasons) if (why === reason && !ready.has(model)) count += 1
      this.parts.metrics.set('helixflow_models_waiting', { reason }, count)
    }
  }

  private showPrefetches(): void {
    const { metrics, pool } = this.parts
    const ledger = agedLedger(pool.state.prefetches, pool.nowMs)
    const judged = ledger.useful + ledger.useless
    // Of none a share would say that all were in vain.
    if (judged > 0) metrics.set('helixflow_prefetch_precision_ratio', {}, ledger.useful / judged)
    else metrics.drop('helixflow_prefetch_precision_ratio', {})
    metrics.set('helixflow_prefetch_active', {}, isPrefetching(ledger, pool.policy.prefetch) ? 1 : 0)
  }

  /** What devices say, beside what is reckoned for models. */
  private showDevices(reports: readonly DeviceReport[]): void {
    const { metrics, pool } = this.parts
    const { freeBytes } = viewOf(pool.state, pool.nowMs)
    for (const report of reports) this.showDevice(report, freeBytes.get(report.id) ?? 0)
    // Whoever watches must see that one went with its node.
    const present = reports.map(({ id }) => id)
    const { lost, forgotten } = this.devices.look(present, pool.nowMs)
    for (const device of lost) {
      this.dropDevices({ device })
      metrics.set('helixflow_device_healthy', { device }, 0)
    }
    for (const device of forgotten) metrics.drop('helixflow_device_healthy', { device })
  }

  private showDevice(report: DeviceReport, freeBytes: number): void {
    const { metrics } = this.parts
    const { id: device, kind: deviceKind, totalBytes, foreignBytes, usedBytes } = report
    const kinds = {
      total: totalBytes,
      foreign: foreignBytes,
      models: totalBytes - foreignBytes - freeBytes,
      free: Math.max(0, freeBytes),
      // Of the machine's own memory that is the whole machine's use, and the total only what models may have.
      ...(usedBytes !== undefined && deviceKind !== 'cpu' && { used: usedBytes }),
    }
    // A card that is lost says nothing any more: what it said last would look like its heat for ever.
    this.dropDevices({ device })
    for (const [kind, bytes] of Object.entries(kinds))
      metrics.set('helixflow_device_memory_bytes', { device, kind }, bytes)
    const { utilization, powerWatts, temperatureCelsius } = report
    if (utilization !== undefined) metrics.set('helixflow_device_utilization_ratio', { device }, utilization)
    if (powerWatts !== undefined) metrics.set('helixflow_device_power_watts', { device }, powerWatts)
    if (temperatureCelsius !== undefined)
      metrics.set('helixflow_device_temperature_celsius', { device }, temperatureCelsius)
    metrics.set('helixflow_device_healthy', { device }, report.health === 'ok' ? 1 : 0)
  }

  /** Of one device, or of all: what was read there is not so any more. */
  private dropDevices(labels: { readonly device?: string }): void {
    const { metrics } = this.parts
    metrics.drop('helixflow_device_memory_bytes', labels)
    metrics.drop('helixflow_device_utilization_ratio', labels)
    metrics.drop('helixflow_device_power_watts', labels)
    metrics.drop('helixflow_device_temperature_celsius', labels)
  }
}

const NONE: Readonly<Record<Instance['state'], number>> = { loading: 0, ready: 0, draining: 0, unloading: 0 }

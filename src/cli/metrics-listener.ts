import type { Settings } from '../config/load.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import { listenForMetrics } from '../metrics/listener.ts'
import { startProcessMetrics } from '../metrics/process-metrics.ts'
import { MetricRegistry } from '../metrics/registry.ts'

export interface MetricsRequest {
  readonly settings: Settings
  /** Stops what was started. */
  readonly lifecycle: Lifecycle
  /** `all` where one process has every role. */
  readonly role: 'all' | 'gateway' | 'pool' | 'node' | 'auth' | 'monitor'
  readonly version: string
}

export interface StartedMetrics {
  readonly registry: MetricRegistry
  /** Undefined where nothing is served. */
  readonly url: string | undefined
}

/**
 * What a process of any role counts, and where Prometheus reads it. It counts also where nothing is served, for the
 * monitor in the same process.
 * @throws HelixError `address_in_use`
 */
export async function startMetrics({
  settings: {
    config: { metrics },
  },
  lifecycle,
  role,
  version,
}: MetricsRequest): Promise<StartedMetrics> {
  const registry = new MetricRegistry()
  const end = startProcessMetrics(registry, { version, role })
  lifecycle.add('process metrics', async () => end())
  if (!metrics.enabled) return { registry, url: undefined }
  const listener = await listenForMetrics(registry, metrics)
  lifecycle.add('metrics', () => listener.stop())
  return { registry, url: listener.url }
}

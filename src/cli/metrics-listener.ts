import type { Settings } from '../config/load.ts'
import { placesOf } from '../config/places.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import type { Metrics } from '../core/metrics.ts'
import { tellCertificates } from '../metrics/certificate-metrics.ts'
import { watchDisk } from '../metrics/disk-metrics.ts'
import { listenForMetrics } from '../metrics/listener.ts'
import { startProcessMetrics } from '../metrics/process-metrics.ts'
import { MetricRegistry } from '../metrics/registry.ts'
import { systemClock } from '../system.ts'
import { lostLines } from './log-output.ts'

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
export async function startMetrics(request: MetricsRequest): Promise<StartedMetrics> {
  const { settings, lifecycle, role, version } = request
  const { metrics, rpc } = settings.config
  const registry = new MetricRegistry()
  const end = startProcessMetrics(registry, { version, role })
  lifecycle.add('process metrics', async () => end())
  const ends = watchDisks(registry, request)
  lifecycle.add('disk metrics', async () => {
    for (const one of ends) one()
  })
  countLostLines(registry)
  if (rpc.tls) {
    const { certificate, authority } = rpc.tls
    tellCertificates(registry, { 'rpc.tls.certificate': certificate, 'rpc.tls.authority': authority })
  }
  if (!metrics.enabled) return { registry, url: undefined }
  const listener = await listenForMetrics(registry, metrics)
  lifecycle.add('metrics', () => listener.stop())
  return { registry, url: listener.url }
}

/** Where processes of that role keep something; who opens the database adds what lies there. */
function watchDisks(metrics: Metrics, { settings, role }: MetricsRequest): readonly (() => void)[] {
  const { home, spool, models } = placesOf(settings.home, settings.config)
  const places = {
    ...(role === 'pool' || role === 'monitor' ? {} : { data: home }),
    ...(role === 'all' || role === 'gateway' ? { spool } : {}),
    ...(role === 'all' || role === 'node' ? { models } : {}),
  }
  return Object.entries(places).map(([place, directory]) =>
    watchDisk(metrics, { place, directory, clock: systemClock }),
  )
}

function countLostLines(metrics: Metrics): void {
  let told = 0
  metrics.beforeRead(() => {
    const lost = lostLines()
    metrics.add('helixflow_log_dropped_total', {}, lost - told)
    told = lost
  })
}

import { hostname } from 'node:os'
import type { Config } from '../config/schema.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { Tracer } from '../core/tracing.ts'
import { systemClock, systemRandom } from '../system.ts'
import { openTracing } from '../tracing/open-tracing.ts'

export interface TracingRequest {
  readonly config: Config
  /** What this process is, as spans name it. */
  readonly role: string
  readonly version?: string
  readonly metrics: Metrics
  readonly log: Logger
  /** Sends what is waiting when everything else has stopped. */
  readonly lifecycle: Lifecycle
}

/** The traces of this process; to be started before whatever makes some, so that it ends after it. */
export async function startTracing(request: TracingRequest): Promise<Tracer> {
  const { config, role, version, metrics, log, lifecycle } = request
  const { tracer, stop } = await openTracing({
    settings: config.tracing,
    service: { role, version, instance: `${hostname()}-${process.pid}` },
    clock: systemClock,
    random: systemRandom,
    metrics,
    log,
  })
  lifecycle.add('tracing', stop)
  return tracer
}

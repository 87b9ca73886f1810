import type { HelixError } from '../../core/errors.ts'
import type { Metrics } from '../../core/metrics.ts'
import type { ModelNames } from './model-names.ts'

export interface EndedRequest {
  /** As it was registered, never as it was asked; undefined where there is none. */
  readonly route: string | undefined
  readonly model: string | undefined
  readonly status: number
  readonly error: HelixError | undefined
  /** Of a generation, from its arrival to its end; undefined for what generates nothing. */
  readonly durationMs: number | undefined
  readonly traceId: string | undefined
}

/** Counts requests, each once, whichever way it came: over HTTP, over a socket, or as the rest of another gateway's stream. */
export class RequestMetrics {
  private inFlight = 0

  constructor(
    private readonly metrics: Metrics,
    private readonly models: Pick<ModelNames, 'label'>,
  ) {
    metrics.beforeRead(() => metrics.set('helixflow_requests_in_flight', {}, this.inFlight))
  }

  began(): void {
    this.inFlight++
  }

  ended({ route = 'unknown', model, status, error, durationMs, traceId }: EndedRequest): void {
    this.inFlight--
    const label = this.models.label(model)
    this.metrics.add('helixflow_requests_total', { route, model: label, status: String(status) })
    if (error) this.metrics.add('helixflow_request_errors_total', { code: error.code })
    // How long it took to fail says nothing of how long it takes.
    else if (durationMs !== undefined)
      this.metrics.observe(
        'helixflow_request_duration_seconds',
        { model: label },
        durationMs / 1_000,
        traceId,
      )
  }
}

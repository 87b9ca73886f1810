import type { Clock } from '../core/clock.ts'
import type { Metrics } from '../core/metrics.ts'
import { StatementLabels } from './statement-label.ts'
import { failureLabel } from './storage-error.ts'

/** What the callers of one server do and wait for, told to the metrics of the process. */
export class DatabaseMeter {
  private readonly labels = new StatementLabels()

  constructor(
    private readonly metrics: Metrics,
    private readonly clock: Clock,
  ) {}

  now(): number {
    return this.clock.monotonic()
  }

  /** Also for one that was waited for in vain. */
  waited(sinceMs: number): void {
    this.metrics.observe('helixflow_db_acquire_seconds', {}, (this.now() - sinceMs) / 1000)
  }

  ended(sql: string, sinceMs: number): void {
    const labels = { query: this.labels.of(sql) }
    this.metrics.observe('helixflow_db_query_seconds', labels, (this.now() - sinceMs) / 1000)
  }

  failed(reason: unknown): void {
    this.metrics.add('helixflow_db_failures_total', { code: failureLabel(reason) })
  }
}

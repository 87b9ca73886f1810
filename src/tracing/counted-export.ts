import type { ReadableSpan, Span, SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace-base'
import { BatchSpanProcessor } from '@opentelemetry/sdk-trace-base'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'

export interface CountedExportParts {
  readonly exporter: SpanExporter
  readonly clock: Clock
  readonly metrics: Metrics
  readonly log: Logger
}

/** Spans that wait or are on their way, at most; with some hundred bytes each. */
const WAITING_MAX = 4_096
const BATCH_SPANS = 512
const BATCH_MS = 1_000
const COMPLAINT_EVERY_MS = 60_000

/**
 * Hands spans to the batches of OpenTelemetry's package, and knows what became of each, which that package does not say:
 * a collector that is slow or gone costs a bounded amount of memory, and what it did not take is counted.
 */
export class CountedExport implements SpanProcessor {
  private readonly batches: BatchSpanProcessor
  private waiting = 0
  private droppedSinceComplaint = 0
  private complainedMs = Number.NEGATIVE_INFINITY

  constructor(private readonly parts: CountedExportParts) {
    const { exporter } = parts
    const counted: SpanExporter = {
      export: (spans, done) =>
        exporter.export(spans, (result) => {
          this.waiting -= spans.length
          // Zero is success.
          if (result.code !== 0) this.dropped(spans.length, result.error)
          done(result)
        }),
      shutdown: () => exporter.shutdown(),
    }
    this.batches = new BatchSpanProcessor(counted, {
      maxQueueSize: WAITING_MAX,
      maxExportBatchSize: BATCH_SPANS,
      scheduledDelayMillis: BATCH_MS,
    })
  }

  onStart(_span: Span): void {}

  onEnd(span: ReadableSpan): void {
    if (this.waiting >= WAITING_MAX) {
      this.dropped(1, undefined)
      return
    }
    this.waiting++
    this.batches.onEnd(span)
  }

  forceFlush(): Promise<void> {
    return this.batches.forceFlush()
  }

  shutdown(): Promise<void> {
    return this.batches.shutdown()
  }

  private dropped(spans: number, cause: Error | undefined): void {
    const { clock, metrics, log } = this.parts
    metrics.add('helixflow_trace_spans_dropped_total', {}, spans)
    this.droppedSinceComplaint += spans
    const nowMs = clock.monotonic()
    if (nowMs - this.complainedMs < COMPLAINT_EVERY_MS) return
    log.warn('spans not taken by the collector', {
      dropped: this.droppedSinceComplaint,
      cause: cause?.message,
    })
    this.complainedMs = nowMs
    this.droppedSinceComplaint = 0
  }
}

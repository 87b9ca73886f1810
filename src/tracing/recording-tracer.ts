import {
  createTraceState,
  type Tracer as OtelTracer,
  ROOT_CONTEXT,
  TraceFlags,
  trace,
} from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { AlwaysOnSampler, BasicTracerProvider } from '@opentelemetry/sdk-trace-base'
import { delay } from '../core/clock.ts'
import {
  noSpan,
  type Span,
  type SpanAttributes,
  type SpanKind,
  type TraceHeaders,
  type Tracer,
} from '../core/tracing.ts'
import { CountedExport } from './counted-export.ts'
import { RecordedSpan } from './recorded-span.ts'
import { type RemoteSpan, remoteSpan } from './trace-context.ts'
import type { TracingParts } from './tracing-parts.ts'

/** A collector takes a batch within milliseconds. Waiting longer only has more wait behind it, at the end too. */
const EXPORT_TIMEOUT_MS = 1_500
const STOP_TIMEOUT_MS = 2_000

/** Nothing that a caller chooses, such as the name of a model, makes a span large. */
const SPAN_LIMITS = { attributeValueLengthLimit: 256, attributeCountLimit: 64, eventCountLimit: 32 } as const

/** Traces that go to a collector. The only part that knows OpenTelemetry's packages, with its neighbours in this folder. */
export class RecordingTracer implements Tracer {
  private readonly provider: BasicTracerProvider
  private readonly tracer: OtelTracer

  constructor(
    endpoint: string,
    private readonly parts: TracingParts,
  ) {
    const { settings, service, clock, metrics, log } = parts
    const exporter = new OTLPTraceExporter({
      url: endpoint,
      headers: settings.headers,
      timeoutMillis: EXPORT_TIMEOUT_MS,
      // Also for making the connection, which the other one does not bound.
      httpAgentOptions: { keepAlive: true, timeout: EXPORT_TIMEOUT_MS },
    })
    this.provider = new BasicTracerProvider({
      // Decided in `begin`, before anything is made of a request that is not traced.
      sampler: new AlwaysOnSampler(),
      spanLimits: SPAN_LIMITS,
      resource: resourceFromAttributes({
        ...settings.attributes,
        'service.name': settings.serviceName,
        ...(service.version !== undefined && { 'service.version': service.version }),
        'service.instance.id': service.instance,
        'helixflow.role': service.role,
      }),
      spanProcessors: [new CountedExport({ exporter, clock, metrics, log })],
    })
    this.tracer = this.provider.getTracer('helixflow', service.version)
  }

  /**
   * By our own chance, and never by the id of the trace or the flag that a caller sends, with which anybody could have all of
   * their requests recorded. A caller who says that theirs is not recorded is believed: that costs nothing.
   */
  begin(name: string, kind: SpanKind, headers: TraceHeaders, attributes?: SpanAttributes): Span {
    const { random, settings } = this.parts
    if (random.uniform() >= settings.sampleRatio) return noSpan
    const remote = remoteSpan(headers)
    return remote?.sampled === false ? noSpan : this.start(name, kind, remote, attributes)
  }

  follow(name: string, kind: SpanKind, headers: TraceHeaders, attributes?: SpanAttributes): Span {
    const remote = remoteSpan(headers)
    return remote?.sampled ? this.start(name, kind, remote, attributes) : noSpan
  }

  /** Sends what is waiting, within reason. */
  async stop(): Promise<void> {
    const ended = this.provider.shutdown().catch(() => {})
    await Promise.race([ended, delay(this.parts.clock, STOP_TIMEOUT_MS)])
  }

  private start(
    name: string,
    kind: SpanKind,
    remote: RemoteSpan | undefined,
    attributes: SpanAttributes = {},
  ): Span {
    const span = new RecordedSpan(this.tracer, name, kind, remote ? contextOf(remote) : ROOT_CONTEXT)
    span.set(attributes)
    return span
  }
}

function contextOf({ traceId, spanId, state }: RemoteSpan) {
  return trace.setSpanContext(ROOT_CONTEXT, {
    ...{ traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true },
    ...(state !== undefined && { traceState: createTraceState(state) }),
  })
}

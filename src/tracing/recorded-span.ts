import {
  type Attributes,
  type Context,
  type Span as OtelSpan,
  SpanKind as OtelSpanKind,
  type Tracer as OtelTracer,
  ROOT_CONTEXT,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import type { HelixError } from '../core/errors.ts'
import type { Span, SpanAttributes, SpanKind } from '../core/tracing.ts'
import { contextHeaders } from './trace-context.ts'

const KINDS = {
  server: OtelSpanKind.SERVER,
  client: OtelSpanKind.CLIENT,
  internal: OtelSpanKind.INTERNAL,
} as const

/** A span that will be sent. */
export class RecordedSpan implements Span {
  readonly traceId: string
  private readonly span: OtelSpan
  private isOver = false

  constructor(
    private readonly tracer: OtelTracer,
    name: string,
    private readonly kind: SpanKind,
    parent: Context,
  ) {
    this.span = tracer.startSpan(name, { kind: KINDS[kind] }, parent)
    this.traceId = this.span.spanContext().traceId
  }

  set(attributes: SpanAttributes): void {
    this.span.setAttributes(told(attributes))
  }

  event(name: string, attributes: SpanAttributes = {}): void {
    this.span.addEvent(name, told(attributes))
  }

  child(name: string, kind: SpanKind, attributes: SpanAttributes = {}): Span {
    const child = new RecordedSpan(this.tracer, name, kind, trace.setSpan(ROOT_CONTEXT, this.span))
    child.set(attributes)
    return child
  }

  headers(): Readonly<Record<string, string>> {
    const { traceId, spanId, traceState } = this.span.spanContext()
    return contextHeaders(traceId, spanId, traceState?.serialize() ?? '')
  }

  end(error?: HelixError): void {
    if (this.isOver) return
    this.isOver = true
    if (error) this.fail(error)
    this.span.end()
  }

  /** By the code alone: what else an error says may come from anywhere. */
  private fail({ code, status }: HelixError): void {
    this.span.setAttribute('error.type', code)
    // What was wrong with a request is no failure of the server that refused it, and who left has not failed.
    const isFailure = this.kind === 'server' ? status >= 500 : code !== 'client_closed_request'
    if (isFailure) this.span.setStatus({ code: SpanStatusCode.ERROR })
  }
}

/** Without what is not known. */
function told(attributes: SpanAttributes): Attributes {
  const known: Attributes = {}
  for (const name in attributes) {
    const value = attributes[name]
    if (value !== undefined) known[name] = typeof value === 'object' ? [...value] : value
  }
  return known
}

import { HelixError } from './errors.ts'

export type SpanKind = 'server' | 'client' | 'internal'

/** By the names of OpenTelemetry's conventions; never a prompt, an answer, a key or what else a caller said. */
export type SpanAttributes = Readonly<
  Record<string, string | number | boolean | readonly string[] | undefined>
>

/** One piece of work in a trace. Passed on as an argument, for looking it up by the running task costs each request more. */
export interface Span {
  /** Undefined where this request is not traced. */
  readonly traceId: string | undefined
  set(attributes: SpanAttributes): void
  /** A moment within it. */
  event(name: string, attributes?: SpanAttributes): void
  /** Work that is a part of this one. */
  child(name: string, kind: SpanKind, attributes?: SpanAttributes): Span
  /** W3C headers with which another process goes on with the trace; empty where there is none. */
  headers(): Readonly<Record<string, string>>
  /** Once; what is said afterwards is lost. */
  end(error?: HelixError): void
}

export type TraceHeaders = Readonly<Record<string, string | readonly string[] | undefined>>

/** Where traces begin. */
export interface Tracer {
  /**
   * Work that was asked for by anybody, or by nobody. Whether it is recorded is decided here.
   * @param headers of whoever asked: where they hold a trace, it is gone on with
   */
  begin(name: string, kind: SpanKind, headers: TraceHeaders, attributes?: SpanAttributes): Span
  /** Work for another service of this platform: recorded where the headers say so, and only there. */
  follow(name: string, kind: SpanKind, headers: TraceHeaders, attributes?: SpanAttributes): Span
}

/** Of what is not traced: costs nothing. */
export const noSpan: Span = {
  traceId: undefined,
  set: () => {},
  event: () => {},
  child: () => noSpan,
  headers: () => NO_HEADERS,
  end: () => {},
}

const NO_HEADERS: Readonly<Record<string, string>> = {}

/** While no exporter is configured. */
export const noTracer: Tracer = { begin: () => noSpan, follow: () => noSpan }

/** Ends a span with the work that it is about. */
export async function spanned<Result>(span: Span, work: Promise<Result>): Promise<Result> {
  try {
    const result = await work
    span.end()
    return result
  } catch (reason) {
    span.end(HelixError.from(reason))
    throw reason
  }
}

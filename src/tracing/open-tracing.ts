import { noTracer, type Tracer } from '../core/tracing.ts'
import type { TracingParts } from './tracing-parts.ts'

export interface OpenedTracing {
  readonly tracer: Tracer
  /** Sends what is waiting, and waits for that two seconds at most. */
  stop(): Promise<void>
}

/** Tracing as the settings want it. OpenTelemetry's packages are loaded only where there is somebody to send spans to. */
export async function openTracing(parts: TracingParts): Promise<OpenedTracing> {
  const { endpoint } = parts.settings
  if (endpoint === undefined) return { tracer: noTracer, stop: async () => {} }
  const { RecordingTracer } = await import('./recording-tracer.ts')
  const tracer = new RecordingTracer(endpoint, parts)
  return { tracer, stop: () => tracer.stop() }
}

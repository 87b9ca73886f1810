import type { Replica } from '../../contracts/pool.ts'
import type { HelixError } from '../../core/errors.ts'
import type { Span, SpanAttributes } from '../../core/tracing.ts'
import type { Exchange } from './exchange.ts'
import type { RelayResult } from './relay.ts'
import type { Usage } from './usage.ts'

/**
 * One attempt at an engine, by OpenTelemetry's conventions for generative AI: semantic-conventions-genai v0.1.0, span
 * `gen_ai.client.inference`. They would have one span over all attempts; here each has its own, for each may go to another
 * engine. What was asked and answered is never told.
 */
export function engineSpan(parent: Span, { path, model, stream, choices }: Exchange, replica: Replica): Span {
  if (parent.traceId === undefined) return parent
  const operation = OPERATIONS[path] ?? path.slice(1)
  return parent.child(`${operation} ${model}`, 'client', {
    'gen_ai.operation.name': operation,
    // Its well-known values are vendors; this is what answers here.
    'gen_ai.provider.name': replica.engine,
    'gen_ai.request.model': model,
    'gen_ai.request.stream': stream,
    'gen_ai.request.choice.count': choices > 1 ? choices : undefined,
    'gen_ai.response.model': replica.engineModel,
    'helixflow.replica.id': replica.id,
    ...addressOf(replica),
  })
}

const OPERATIONS: Readonly<Record<string, string>> = {
  '/v1/chat/completions': 'chat',
  '/v1/completions': 'text_completion',
  '/v1/embeddings': 'embeddings',
}

export interface AttemptEnd {
  readonly result: RelayResult
  readonly usage: Usage
  /** From its start to the first piece of a stream. */
  readonly firstTokenMs: number | undefined
  readonly error: HelixError | undefined
}

/** Ends the span of an attempt. */
export function endEngineSpan(span: Span, { result, usage, firstTokenMs, error }: AttemptEnd): void {
  const reasons = result.kind === 'complete' ? finishReasons(result.body) : []
  span.set({
    'gen_ai.usage.input_tokens': usage.promptTokens,
    'gen_ai.usage.output_tokens': usage.completionTokens,
    'gen_ai.usage.cache_read.input_tokens': usage.cachedTokens > 0 ? usage.cachedTokens : undefined,
    'gen_ai.response.time_to_first_chunk': firstTokenMs === undefined ? undefined : firstTokenMs / 1_000,
    'gen_ai.response.finish_reasons': reasons.length > 0 ? reasons : undefined,
    'http.response.status_code': result.kind === 'denied' ? result.status : undefined,
  })
  span.end(error)
}

function addressOf({ address: { url, socketPath, serverName } }: Replica): SpanAttributes {
  if (socketPath !== undefined) return { 'server.address': socketPath }
  const { hostname, port, protocol } = new URL(url)
  // One port of a machine leads to all of its engines; the replica's id says which.
  const isRelayed = serverName !== undefined
  return {
    'server.address': hostname,
    'server.port': Number(port || (protocol === 'https:' ? 443 : 80)),
    ...(isRelayed && { 'helixflow.relayed': true }),
  }
}

const REASONS_MAX = 16
/** Embeddings have megabytes and no reason. */
const LOOKED_AT_BYTES_MAX = 256 * 1024

/**
 * Of an answer in one piece, without parsing it: inside a text the quotes would be escaped. A stream is not looked into, and
 * its reasons are not known here.
 */
function finishReasons(body: Buffer): string[] {
  if (body.length > LOOKED_AT_BYTES_MAX) return []
  const found = body.toString('latin1').matchAll(/"finish_reason": ?"([a-z_]{1,32})"/g)
  return Array.from(found, ([, reason = '']) => reason).slice(0, REASONS_MAX)
}

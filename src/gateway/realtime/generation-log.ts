import type { Identity } from '../../contracts/auth.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Span, Tracer } from '../../core/tracing.ts'
import type { Settlement } from '../dispatch/settlement.ts'

export interface LoggedGeneration {
  readonly requestId: string
  /** The client's own name for it. */
  readonly clientRequest: string | undefined
  readonly route: string
  readonly identity: Identity
  readonly startedMs: number
  readonly span: Span
  model?: string
  user?: string | undefined
}

/** A message on a socket asks for as much as a request does, and has a trace of its own. */
export function traceGeneration(tracer: Tracer, route: string, requestId: string): Span {
  return tracer.begin(route, 'server', {}, { 'http.route': route, 'helixflow.request.id': requestId })
}

/** The end of a generation over a socket: its line of the access log, in the form of those over HTTP, and its span. */
export function logGeneration(
  log: Logger,
  one: LoggedGeneration,
  {
    nowMs,
    settlement,
    failure,
  }: {
    readonly nowMs: number
    readonly settlement: Settlement | undefined
    readonly failure?: unknown
  },
): void {
  const error = settlement?.error ?? (failure === undefined ? undefined : HelixError.from(failure))
  log.info('request', {
    request: one.requestId,
    trace: one.span.traceId,
    clientRequest: one.clientRequest,
    method: 'WS',
    route: one.route,
    status: error?.status ?? 200,
    error: error?.code,
    cause: error && error.message !== error.publicMessage ? error.message : undefined,
    model: one.model,
    project: one.identity.projectId,
    key: one.identity.keyId,
    cache: settlement?.cache,
    replica: settlement?.served?.replica,
    routing: settlement?.served?.route,
    waitedMs: settlement?.served && Math.round(settlement.served.waitedMs),
    user: one.user,
    promptTokens: settlement?.usage.promptTokens,
    completionTokens: settlement?.usage.completionTokens,
    ms: Math.round(nowMs - one.startedMs),
  })
  if (one.span.traceId === undefined) return
  one.span.set({
    'helixflow.project.id': one.identity.projectId,
    ...(settlement && { 'gen_ai.request.model': one.model, 'helixflow.cache': settlement.cache }),
  })
  one.span.end(error)
}

import type { Identity } from '../../contracts/auth.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Settlement } from '../dispatch/settlement.ts'
import type { RequestMetrics } from '../metrics/request-metrics.ts'

export interface LoggedGeneration {
  /** Over a socket where it is not said. */
  readonly method?: 'WS' | 'CONTINUED'
  readonly requestId: string
  /** The client's own name for it. */
  readonly clientRequest: string | undefined
  readonly route: string
  readonly identity: Identity
  readonly startedMs: number
  model?: string
  user?: string | undefined
}

export interface GenerationLog {
  readonly accessLog: Logger
  readonly requests: RequestMetrics
}

/**
 * The line of the access log that a generation gets which no request over HTTP stands for, in the form of those, and its
 * share in what is counted.
 */
export function logGeneration(
  { accessLog, requests }: GenerationLog,
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
  const { route, model } = one
  const status = error?.status ?? 200
  const ms = nowMs - one.startedMs
  requests.ended({ route, model, status, error, durationMs: settlement && ms, traceId: undefined })
  accessLog.info('request', {
    request: one.requestId,
    clientRequest: one.clientRequest,
    method: one.method ?? 'WS',
    route,
    status,
    error: error?.code,
    cause: error && error.message !== error.publicMessage ? error.message : undefined,
    model,
    project: one.identity.projectId,
    key: one.identity.keyId,
    cache: settlement?.cache,
    user: one.user,
    promptTokens: settlement?.usage.promptTokens,
    completionTokens: settlement?.usage.completionTokens,
    ms: Math.round(ms),
  })
}

import type { Identity } from '../../contracts/auth.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { Settlement } from '../dispatch/settlement.ts'

export interface LoggedGeneration {
  readonly requestId: string
  /** The client's own name for it. */
  readonly clientRequest: string | undefined
  readonly route: string
  readonly identity: Identity
  readonly startedMs: number
  model?: string
  user?: string | undefined
}

/** The line of the access log that a generation over a socket gets, in the form of those over HTTP. */
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
    user: one.user,
    promptTokens: settlement?.usage.promptTokens,
    completionTokens: settlement?.usage.completionTokens,
    ms: Math.round(nowMs - one.startedMs),
  })
}

import type { FastifyReply } from 'fastify'
import type { PoolClient } from '../../contracts/pool.ts'
import type { ErrorCode, HelixError } from '../../core/errors.ts'
import type { Drain } from '../drain.ts'

/** What readiness asks; each says why not, or nothing. */
export interface ReadinessChecks {
  readonly drain: Drain
  readonly database: () => Promise<HelixError | undefined>
  /** Whether what requests cost can be recorded. */
  readonly usage: () => HelixError | undefined
  readonly pool: PoolClient
}

/** GET /livez: the process answers. */
export function livez() {
  return async () => ({ status: 'ok' })
}

/** GET /readyz: whether requests should be sent here, and if not, why. */
export function readyz(checks: ReadinessChecks) {
  return async (_request: unknown, reply: FastifyReply) => {
    const reasons = await unreadiness(checks)
    if (reasons.length === 0) return { status: 'ready', reasons }
    return reply.code(503).send({ status: 'not_ready', reasons })
  }
}

export interface Reason {
  readonly code: ErrorCode
  readonly message: string
}

/** Why requests should not be sent here; empty when they should. */
export async function unreadiness(checks: ReadinessChecks): Promise<readonly Reason[]> {
  const failures = [await checks.database(), checks.usage(), await checks.pool.unavailability()]
  const reasons: Reason[] = failures
    .filter((one) => one !== undefined)
    .map(({ code, publicMessage }) => ({ code, message: publicMessage }))
  const draining = { code: 'server_draining', message: 'The server is shutting down.' } as const
  return checks.drain.draining ? [draining, ...reasons] : reasons
}

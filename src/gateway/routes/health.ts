import type { FastifyReply } from 'fastify'
import type { PoolClient } from '../../contracts/pool.ts'
import type { HelixError } from '../../core/errors.ts'
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
    const failures = [await checks.database(), checks.usage(), await checks.pool.unavailability()].filter(
      (one) => one !== undefined,
    )
    const reasons = failures.map(({ code, publicMessage }) => ({ code, message: publicMessage }))
    if (checks.drain.draining)
      reasons.unshift({ code: 'server_draining', message: 'The server is shutting down.' })
    if (reasons.length === 0) return { status: 'ready', reasons }
    return reply.code(503).send({ status: 'not_ready', reasons })
  }
}

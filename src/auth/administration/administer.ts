import { createHash, createHmac } from 'node:crypto'
import type { z } from 'zod'
import {
  changes,
  isOperation,
  OPERATIONS,
  type OperationName,
} from '../../contracts/administration/operations.ts'
import type { AdministrationCall } from '../../contracts/auth.ts'
import { parseRequest } from '../../contracts/openai/parse.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { findOrganisation } from '../../storage/accounts.ts'
import { appendAudit } from '../../storage/audit.ts'
import type { Database } from '../../storage/database.ts'
import { findAnswer, putAnswer } from '../../storage/idempotent-answers.ts'
import { announceEnd } from '../../storage/revocations.ts'
import { inOrganisation, readInOrganisation, type TenantQueries } from '../../storage/tenancy.ts'
import { open, seal } from '../sealed.ts'
import { auditHandlers } from './audit.ts'
import type { Handlers, HandlerTools } from './handlers.ts'
import { keyHandlers } from './keys.ts'
import { limitHandlers } from './limits.ts'
import { memberHandlers } from './members.ts'
import { organisationHandlers } from './organisations.ts'
import { serviceAccountHandlers } from './service-accounts.ts'
import { isOperator, notFound, Task } from './task.ts'
import { usageHandlers } from './usage.ts'

const HANDLERS: Handlers = {
  ...organisationHandlers,
  ...memberHandlers,
  ...serviceAccountHandlers,
  ...keyHandlers,
  ...auditHandlers,
  ...usageHandlers,
  ...limitHandlers,
}

export interface AdministrationParts extends HandlerTools {
  readonly database: Database
  readonly clock: Clock
}

const IDEMPOTENCY_MS = 24 * 3_600_000

/**
 * One administrative call: checked against its operation's schema and permission, done in one transaction of the
 * caller's organisation together with its entries in the audit log.
 * @throws HelixError `unknown_url` for no such operation, `invalid_value`, `unsupported_parameter`,
 *   `insufficient_permissions`, `not_found`, `conflict`, `idempotency_key_reused`, and the database's
 */
export async function administer(parts: AdministrationParts, call: AdministrationCall): Promise<unknown> {
  const { operation, caller } = call
  if (!isOperation(operation)) throw new HelixError('unknown_url', 'There is no such operation.')
  const input = parseRequest<unknown>(OPERATIONS[operation].input as z.ZodType, call.input)
  const transact = changes(operation) ? inOrganisation : readInOrganisation
  return transact(parts.database, caller.organisationId, async (queries) => {
    if (isOperator(caller) && !(await findOrganisation(queries, caller.organisationId))) throw notFound()
    const once = changes(operation) && call.idempotencyKey !== undefined
    return (once ? performOnce : perform)(parts, call, { queries, operation, input })
  })
}

interface Work {
  readonly queries: TenantQueries
  readonly operation: OperationName
  readonly input: unknown
}

async function perform(parts: AdministrationParts, call: AdministrationCall, work: Work): Promise<unknown> {
  const { queries, operation, input } = work
  const { caller } = call
  const nowMs = parts.clock.now()
  const task = new Task({ operation, caller, queries, nowMs })
  // The table pairs each name with its input; a union of functions does not show that to the compiler.
  const handle = HANDLERS[operation] as (task: Task, input: unknown, tools: HandlerTools) => Promise<unknown>
  const output = await handle(task, input, parts)
  if (!task.authorised || changes(operation) !== task.changed.length > 0) {
    throw HelixError.from(`${operation} did not ask for its permission, or did not say what it changed`)
  }
  for (const { target, projectId, details = {} } of task.changed) {
    const { organisationId } = task
    const { requestId, source } = call
    const event = {
      organisationId,
      atMs: nowMs,
      action: operation,
      target,
      projectId,
      requestId,
      source,
      details,
    }
    await appendAudit(queries, { ...event, actor: caller.actor })
  }
  for (const subject of task.ended) await announceEnd(queries, subject)
  return output
}

/** As `perform`, once for an idempotency key: a repetition gets the first answer again. */
async function performOnce(
  parts: AdministrationParts,
  call: AdministrationCall,
  work: Work,
): Promise<unknown> {
  const { caller, idempotencyKey = '' } = call
  const nowMs = parts.clock.now()
  const key = {
    organisationId: caller.organisationId,
    actor: caller.actor,
    keyHash: createHmac('sha256', parts.pepper).update(idempotencyKey).digest(),
  }
  const requestHash = createHash('sha256')
    .update(JSON.stringify([work.operation, work.input]))
    .digest()
  // The answer may hold a new API key, which must be nowhere: without the caller's key nobody opens it.
  const purpose = `idempotent answer ${idempotencyKey}`
  const known = await findAnswer(work.queries, key, nowMs - IDEMPOTENCY_MS)
  if (known && !known.requestHash.equals(requestHash)) {
    throw new HelixError('idempotency_key_reused', 'This idempotency key was used for another request.')
  }
  if (known) return JSON.parse(open(parts.pepper, purpose, known.sealedAnswer).toString('utf8'))
  const output = await perform(parts, call, work)
  const sealedAnswer = seal(parts.pepper, purpose, Buffer.from(JSON.stringify(output)))
  await putAnswer(work.queries, { ...key, requestHash, sealedAnswer, nowMs, keepMs: IDEMPOTENCY_MS })
  return output
}

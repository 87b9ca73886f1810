import { HelixError } from '../../core/errors.ts'
import { DEFAULT_ACCOUNT } from '../../storage/accounts.ts'
import { findKey, insertKey, listKeys, replaceKey, revokeKey, type StoredKey } from '../../storage/keys.ts'
import { findMember } from '../../storage/memberships.ts'
import { findServiceAccount } from '../../storage/service-accounts.ts'
import { apiKeyHmac, newApiKey } from '../api-keys.ts'
import type { Handlers, HandlerTools } from './handlers.ts'
import { openProject } from './organisations.ts'
import { isoTime, listOf, optional, optionalTime, pageOf } from './pages.ts'
import { narrowed } from './service-accounts.ts'
import { isOperator, notFound, type Task } from './task.ts'

export const keyHandlers = {
  'keys.list': async (task, input) => {
    const { userId, serviceAccountId, state } = input
    const { organisationId, nowMs, queries } = task
    const among = narrowed(task, input.projectId)
    const filter = { organisationId, among, userId, serviceAccountId, state, nowMs }
    return listOf(await listKeys(queries, filter, pageOf(input)), input, view)
  },
  'keys.create': async (task, input, tools) => {
    const { name, serviceAccountId, scopes, models, ipRules } = input
    const projectId = input.projectId ?? ownProject(task)
    await openProject(task, projectId)
    const userId = await ownerOf(task, input, projectId)
    for (const scope of scopes) {
      if (task.holds(scope, projectId)) continue
      throw new HelixError(
        'insufficient_permissions',
        `A key with the scope '${scope}' may do what you may not.`,
        {
          param: 'scopes',
        },
      )
    }
    const settings = { projectId, name, userId, serviceAccountId, scopes, models, ipRules }
    const made = makeKey(task, tools, { ...settings, expiresAtMs: futureTime(task, input.expiresAt) })
    await insertKey(task.queries, made.row)
    task.changes({ target: made.row.id, projectId, details: { name, scopes, userId, serviceAccountId } })
    return { ...view(made.row), plaintext: made.plaintext }
  },
  'keys.show': async (task, { id }) => view(await existingKey(task, id)),
  'keys.rotate': async (task, { id, overlapSeconds }, tools) => {
    const old = await existingKey(task, id)
    mustBeOwn(task, old)
    // A key that was meant to end ends, whatever it is called by then.
    const made = makeKey(task, tools, old)
    await insertKey(task.queries, made.row)
    const endsAtMs = task.nowMs + overlapSeconds * 1_000
    const { organisationId } = task
    if (!(await replaceKey(task.queries, { organisationId, id, replacedBy: made.row.id, endsAtMs }))) {
      throw new HelixError('conflict', 'This key was revoked or rotated before.')
    }
    task.changes({
      target: id,
      projectId: old.projectId,
      details: { replacedBy: made.row.id, overlapSeconds },
    })
    // Not its end yet: whoever has it in a cache must learn when that is.
    task.ends(id)
    return { ...view(made.row), plaintext: made.plaintext }
  },
  'keys.revoke': async (task, { id }) => {
    const key = await existingKey(task, id)
    mustBeOwn(task, key)
    const { organisationId, nowMs } = task
    const row = await revokeKey(task.queries, { organisationId, id, nowMs })
    if (!row) throw notFound()
    task.changes({ target: id, projectId: row.projectId, details: { name: row.name } })
    task.ends(id)
    return view(row)
  },
} as const satisfies Partial<Handlers>

type KeySettings = Pick<
  StoredKey,
  'projectId' | 'name' | 'userId' | 'serviceAccountId' | 'scopes' | 'models' | 'ipRules' | 'expiresAtMs'
>

function makeKey(task: Task, { pepper }: HandlerTools, settings: KeySettings) {
  const { id, plaintext } = newApiKey()
  const row: StoredKey = {
    ...settings,
    organisationId: task.organisationId,
    id,
    secretHmac: apiKeyHmac(plaintext, pepper),
    createdAtMs: task.nowMs,
    revokedAtMs: undefined,
    replacedBy: undefined,
  }
  return { row, plaintext }
}

function ownProject({ caller, organisationId }: Task): string {
  if (!isOperator(caller)) return caller.projectId
  if (organisationId === DEFAULT_ACCOUNT.organisationId) return DEFAULT_ACCOUNT.projectId
  throw new HelixError('invalid_value', "'projectId': say which project the key is for.", {
    param: 'projectId',
  })
}

/**
 * Whose key it becomes. Who cannot make service accounts makes keys for themselves alone, so that nobody leaves a way
 * in behind them.
 */
async function ownerOf(
  task: Task,
  { userId, serviceAccountId }: { userId?: string | undefined; serviceAccountId?: string | undefined },
  projectId: string,
): Promise<string | undefined> {
  const { caller, organisationId } = task
  if (userId !== undefined && serviceAccountId !== undefined) {
    throw new HelixError(
      'invalid_value',
      "'userId': a key belongs to a person or to a program, not to both.",
      {
        param: 'userId',
      },
    )
  }
  if (serviceAccountId !== undefined) {
    const account = await findServiceAccount(task.queries, { organisationId, id: serviceAccountId })
    if (account?.projectId !== projectId) throw notFound()
  }
  if (!isOperator(caller) && !task.holds('service_accounts.write', projectId)) {
    if (
      caller.userId !== undefined &&
      serviceAccountId === undefined &&
      (userId ?? caller.userId) === caller.userId
    )
      return caller.userId
    throw new HelixError('insufficient_permissions', 'You can make keys for yourself alone.', {
      param: 'userId',
    })
  }
  if (userId !== undefined && !(await findMember(task.queries, { organisationId, userId }))) throw notFound()
  return userId
}

function mustBeOwn(task: Task, key: StoredKey): void {
  const { caller } = task
  if (isOperator(caller) || task.holds('service_accounts.write', key.projectId)) return
  if (key.userId !== undefined && key.userId === caller.userId) return
  throw new HelixError('insufficient_permissions', 'This key is not yours.')
}

async function existingKey(task: Task, id: string): Promise<StoredKey> {
  const key = await findKey(task.queries, { organisationId: task.organisationId, id })
  if (!key) throw notFound()
  task.authorise(key.projectId)
  return key
}

function futureTime({ nowMs }: Task, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const atMs = Date.parse(text)
  if (atMs > nowMs) return atMs
  throw new HelixError('invalid_value', "'expiresAt' must be in the future.", { param: 'expiresAt' })
}

function view(key: StoredKey) {
  return {
    id: key.id,
    name: key.name,
    projectId: key.projectId,
    ...optional('userId', key.userId),
    ...optional('serviceAccountId', key.serviceAccountId),
    scopes: [...key.scopes],
    ...optional('models', key.models && [...key.models]),
    ...optional('ipRules', key.ipRules && [...key.ipRules]),
    createdAt: isoTime(key.createdAtMs),
    ...optionalTime('expiresAt', key.expiresAtMs),
    ...optionalTime('revokedAt', key.revokedAtMs),
    ...optional('replacedBy', key.replacedBy),
  }
}

import {
  effectiveLimits,
  type LimitedParty,
  type LimitRule,
  type LimitSubject,
  slotOf,
} from '../../contracts/limits.ts'
import { HelixError } from '../../core/errors.ts'
import { findKey, type StoredKey } from '../../storage/keys.ts'
import {
  findLimitRule,
  findLimitRuleOfSlot,
  limitRulesFor,
  listLimitRules,
  putLimitRule,
  removeLimitRule,
  type StoredLimitRule,
} from '../../storage/limit-rules.ts'
import { findMember } from '../../storage/memberships.ts'
import { newId } from '../identifiers.ts'
import type { Handlers } from './handlers.ts'
import { checkEach, isLooser, type LimitInput, termsOf, viewTerms } from './limit-terms.ts'
import { existingProject } from './organisations.ts'
import { isoTime, listOf, optional, pageOf } from './pages.ts'
import { narrowed } from './service-accounts.ts'
import { isOperator, notFound, type Task } from './task.ts'

export const limitHandlers = {
  'limits.list': async (task, input) => {
    const { keyId, userId, model, measure } = input
    const { organisationId, queries } = task
    const filter = { organisationId, among: narrowed(task, input.projectId), keyId, userId, model, measure }
    return listOf(await listLimitRules(queries, filter, pageOf(input)), input, view)
  },
  'limits.show': async (task, { id }) => view(await existingRule(task, id)),
  'limits.effective': async (task, input) => {
    const party = await partyOf(task, input)
    const limits = effectiveLimits(await limitRulesFor(task.queries, party), party)
    return {
      data: limits.map(({ ruleId, subject, ...terms }) => ({
        ruleId,
        subject: { ...subject },
        ...viewTerms(terms),
      })),
    }
  },
  'limits.set': async (task, input) => {
    const { on, projectId } = await holderOf(task, input)
    checkEach(input.each, on.kind)
    const rule = { id: newId('lim'), on, each: input.each, ...termsOf(input) }
    await mustNotLoosen(task, rule)
    const { organisationId, nowMs } = task
    const row = await putLimitRule(task.queries, { ...rule, organisationId, projectId, createdAtMs: nowMs })
    announce(task, row)
    return view(row)
  },
  'limits.remove': async (task, { id }) => {
    const row = await existingRule(task, id)
    await removeLimitRule(task.queries, { organisationId: task.organisationId, id })
    announce(task, row)
    return view(row)
  },
} as const satisfies Partial<Handlers>

interface Holder {
  readonly on: LimitSubject
  /** Whose administrators may change the rule, beside those of the organisation. */
  readonly projectId: string | undefined
}

/** On whom the rule is to lie. What lies beyond one project is a matter of the organisation. */
async function holderOf(task: Task, { projectId, keyId, userId }: LimitInput): Promise<Holder> {
  oneOf({ projectId, keyId, userId })
  if (projectId !== undefined) {
    await existingProject(task, projectId)
    return { on: { kind: 'project', id: projectId }, projectId }
  }
  if (keyId !== undefined) {
    const key = await visibleKey(task, keyId)
    return { on: { kind: 'key', id: keyId }, projectId: key.projectId }
  }
  task.authorise()
  if (userId === undefined) {
    return { on: { kind: 'organisation', id: task.organisationId }, projectId: undefined }
  }
  await existingMember(task, userId)
  return { on: { kind: 'user', id: userId }, projectId: undefined }
}

function oneOf(ids: Readonly<Record<string, string | undefined>>): void {
  const [, second] = Object.entries(ids).filter(([, id]) => id !== undefined)
  if (!second) return
  const [param] = second
  throw new HelixError('invalid_value', `'${param}': a rule lies on one project, key or user, not on more.`, {
    param,
  })
}

/**
 * Closer rules replace those further away, so that whoever may write rules in one project could undo with one what
 * holds for the whole organisation. They may only make it stricter.
 */
async function mustNotLoosen(task: Task, rule: LimitRule): Promise<void> {
  if (rule.on.kind === 'organisation' || task.holds('limits.write')) return
  const { organisationId } = task
  const slot = slotOf(rule)
  const above = await findLimitRuleOfSlot(task.queries, { organisationId, holderId: organisationId, slot })
  if (!above || !isLooser(rule, above)) return
  throw new HelixError(
    'insufficient_permissions',
    `This is looser than the organisation's rule ${above.id}, whose place it would take. Who may change that one can set it.`,
    { param: 'limit' },
  )
}

/** Who is asked about: a key, a user in a project, or the caller. */
async function partyOf(
  task: Task,
  {
    keyId,
    userId,
    projectId,
  }: { keyId?: string | undefined; userId?: string | undefined; projectId?: string | undefined },
): Promise<LimitedParty> {
  const { caller, organisationId } = task
  if (keyId !== undefined) {
    if (userId !== undefined) throw surplus('userId')
    if (projectId !== undefined) throw surplus('projectId')
    const key = await visibleKey(task, keyId)
    return { organisationId, projectId: key.projectId, keyId, userId: key.userId }
  }
  if (userId !== undefined) {
    if (projectId === undefined) throw unsaid('projectId', 'say in which project')
    await existingProject(task, projectId)
    await existingMember(task, userId)
    return { organisationId, projectId, keyId, userId }
  }
  if (projectId !== undefined) throw unsaid('userId', 'say which user of the project')
  if (isOperator(caller)) throw unsaid('keyId', 'say which key, or which user in which project')
  task.authorise(caller.projectId)
  return caller
}

function surplus(param: string): HelixError {
  return new HelixError('invalid_value', `'${param}': a key has its own.`, { param })
}

function unsaid(param: string, what: string): HelixError {
  return new HelixError('invalid_value', `'${param}': ${what}.`, { param })
}

async function visibleKey(task: Task, id: string): Promise<StoredKey> {
  const key = await findKey(task.queries, { organisationId: task.organisationId, id })
  if (!key) throw notFound()
  task.authorise(key.projectId)
  return key
}

async function existingMember(task: Task, userId: string): Promise<void> {
  if (!(await findMember(task.queries, { organisationId: task.organisationId, userId }))) throw notFound()
}

async function existingRule(task: Task, id: string): Promise<StoredLimitRule> {
  const row = await findLimitRule(task.queries, { organisationId: task.organisationId, id })
  if (!row) throw notFound()
  task.authorise(row.projectId)
  return row
}

function announce(task: Task, rule: StoredLimitRule): void {
  const { id, createdAt: _, ...details } = view(rule)
  task.changes({ target: id, projectId: rule.projectId, details })
  // Nobody's end: but whoever has somebody that it binds in a cache must ask for them again.
  task.ends(rule.on.id)
}

function view(rule: StoredLimitRule) {
  const { id, on, each, createdAtMs } = rule
  return {
    id,
    ...(on.kind === 'project' ? { projectId: on.id } : {}),
    ...(on.kind === 'key' ? { keyId: on.id } : {}),
    ...(on.kind === 'user' ? { userId: on.id } : {}),
    ...optional('each', each),
    ...viewTerms(rule),
    createdAt: isoTime(createdAtMs),
  }
}

import { HelixError } from '../../core/errors.ts'
import { type AuditEntry, searchAudit, verifyAudit } from '../../storage/audit.ts'
import type { Handlers } from './handlers.ts'
import { isoTime, optional } from './pages.ts'

export const auditHandlers = {
  'audit.search': async (task, { limit, after, q, from, to, ...equal }) => {
    task.authorise()
    const entries = await searchAudit(task.queries, {
      ...equal,
      organisationId: task.organisationId,
      text: q,
      fromMs: from === undefined ? undefined : Date.parse(from),
      toMs: to === undefined ? undefined : Date.parse(to),
      beforeNumber: after === undefined ? undefined : entryNumber(after),
      limit: limit + 1,
    })
    const shown = entries.slice(0, limit)
    const last = shown.at(-1)
    const next = entries.length > limit && last ? String(last.number) : undefined
    return { data: shown.map(view), ...optional('next', next) }
  },
  'audit.verify': async (task) => {
    task.authorise()
    const { entries, head, problem } = await verifyAudit(task.queries, task.organisationId)
    return {
      intact: problem === undefined,
      entries,
      head: head.toString('hex'),
      ...optional('problem', problem),
    }
  },
} as const satisfies Partial<Handlers>

function entryNumber(after: string): number {
  if (/^\d{1,15}$/.test(after)) return Number(after)
  throw new HelixError('invalid_value', "'after' must be the `next` of an earlier page.", { param: 'after' })
}

function view(entry: AuditEntry) {
  const { organisationId, number, actor, action, target, details } = entry
  return {
    organisationId,
    number,
    at: isoTime(entry.atMs),
    actor,
    action,
    target,
    ...optional('projectId', entry.projectId),
    ...optional('requestId', entry.requestId),
    ...optional('source', entry.source),
    details: { ...details },
    hash: entry.hash.toString('hex'),
  }
}

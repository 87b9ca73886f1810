import type { KpiRow, Range } from '../../contracts/monitor.ts'
import type { UsageRecord } from '../../contracts/usage.ts'
import { HelixError } from '../../core/errors.ts'
import { formatMoney } from '../../core/money.ts'
import type { Handlers } from './handlers.ts'
import { isoTime, optional } from './pages.ts'
import type { Task } from './task.ts'

const HOUR_MS = 3_600_000
const DEFAULT_RANGE_MS = 30 * 24 * HOUR_MS

export const usageHandlers = {
  'usage.summary': async (task, { projectId, model, groupBy, ...range }, { usage }) => {
    // Sums are over a project or over the organisation: who may see one project alone names it.
    task.authorise(projectId)
    const query = { organisationId: task.organisationId, projectId, model, groupBy, ...times(task, range) }
    return { data: (await usage.summary(query)).map((row) => ({ ...row, cost: formatMoney(row.cost) })) }
  },
  'usage.kpis': async (task, { projectId, groupBy, ...range }, { kpis }) => {
    task.authorise(projectId)
    const query = { organisationId: task.organisationId, projectId, groupBy, ...times(task, range) }
    if (query.fromMs >= query.toMs)
      throw new HelixError('invalid_value', "'from' must be earlier than 'to'.", { param: 'from' })
    const { total, rows, forecast } = await kpis.kpis(query)
    const expected = forecast && { ...forecast, cost: moneyRange(forecast.cost) }
    return { data: rows.map(kpiView), total: kpiView(total), ...optional('forecast', expected) }
  },
  'usage.list': async (task, { projectId, model, limit, after, ...range }, { usage }) => {
    task.authorise(projectId)
    const page = { limit, after: after === undefined ? undefined : position(after) }
    const { organisationId } = task
    const { records, next } = await usage.list({
      organisationId,
      projectId,
      model,
      ...page,
      ...times(task, range),
    })
    return {
      data: records.map(view),
      ...optional('next', next && `${next.startedAtMs}-${next.requestId}`),
    }
  },
} as const satisfies Partial<Handlers>

function times({ nowMs }: Task, { from, to }: { from?: string | undefined; to?: string | undefined }) {
  // Sums are of whole hours: the one that is not over yet counts too.
  const toMs = to === undefined ? nowMs + HOUR_MS : Date.parse(to)
  return { toMs, fromMs: from === undefined ? toMs - DEFAULT_RANGE_MS : Date.parse(from) }
}

function position(after: string) {
  const [, startedAtMs, requestId] = /^(\d{1,15})-([\w-]{1,128})$/.exec(after) ?? []
  if (startedAtMs !== undefined && requestId !== undefined)
    return { startedAtMs: Number(startedAtMs), requestId }
  throw new HelixError('invalid_value', "'after' must be the `next` of an earlier page.", { param: 'after' })
}

/** What devices cost is the operator's to know. */
function kpiView({ deviceCost: _, deviceCostPerMillionTokens: __, ...row }: KpiRow) {
  const { durationP50Ms, durationP95Ms, firstTokenP50Ms, firstTokenP95Ms, cost, ...counts } = row
  return {
    ...counts,
    cost: formatMoney(cost),
    ...optional('durationP50Ms', durationP50Ms),
    ...optional('durationP95Ms', durationP95Ms),
    ...optional('firstTokenP50Ms', firstTokenP50Ms),
    ...optional('firstTokenP95Ms', firstTokenP95Ms),
  }
}

function moneyRange({ soFar, likely, low, high }: Range) {
  return {
    soFar: formatMoney(soFar),
    likely: formatMoney(likely),
    low: formatMoney(low),
    high: formatMoney(high),
  }
}

function view(record: UsageRecord) {
  const { startedAtMs, firstTokenMs, errorCode, user, userId, cache, cost, ...others } = record
  const { organisationId: _, instance: __, ...rest } = others
  return {
    ...rest,
    cost: formatMoney(cost),
    startedAt: isoTime(startedAtMs),
    ...optional('firstTokenMs', firstTokenMs),
    ...optional('errorCode', errorCode),
    ...optional('user', user),
    ...optional('userId', userId),
    ...optional('cache', cache),
  }
}

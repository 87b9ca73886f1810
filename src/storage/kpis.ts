import type { Database, Queries } from './database.ts'
import { acrossOrganisations, readInOrganisation } from './tenancy.ts'

export const KPI_GROUPINGS = {
  organisation: 'organisation_id',
  project: 'project_id',
  model: 'model',
} as const

export interface KpiFilter {
  /** Undefined: of all, for the operator. */
  readonly organisationId: string | undefined
  readonly projectId: string | undefined
  readonly fromMs: number
  readonly toMs: number
  readonly groupBy: keyof typeof KPI_GROUPINGS
}

/** Sums of whole hours for one group and one model of one organisation. */
export interface KpiSums {
  readonly organisationId: string
  readonly group: string
  readonly model: string
  readonly requests: number
  readonly errors: number
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly completionTokens: number
  /** In billionths. */
  readonly cost: number
}

/** What only single requests tell. */
export interface KpiDetails {
  /** Undefined for all together. */
  readonly group: string | undefined
  /** Those that this was found out from. */
  readonly requests: number
  readonly cacheHits: number
  readonly durationP50Ms: number | undefined
  readonly durationP95Ms: number | undefined
  readonly firstTokenP50Ms: number | undefined
  readonly firstTokenP95Ms: number | undefined
  readonly activeUsers: number
}

export interface HourSums {
  readonly atMs: number
  readonly requests: number
  readonly tokens: number
  /** In billionths. */
  readonly cost: number
}

/** Of an organisation so many of the newest requests are looked at: a second of work, and enough for any percentile. */
export const DETAILED_REQUESTS_MAX = 100_000

/**
 * One moment for all of it, within the wall of the organisation where one is named.
 * @throws HelixError as `Database.transaction`
 */
export function withKpis<Result>(
  database: Database,
  organisationId: string | undefined,
  work: (queries: Queries) => Promise<Result>,
): Promise<Result> {
  return organisationId === undefined
    ? acrossOrganisations(database, work)
    : readInOrganisation(database, organisationId, work)
}

/** The hours that begin in the span. */
export async function kpiSums(queries: Queries, filter: KpiFilter): Promise<readonly KpiSums[]> {
  const { where, values } = conditions(filter)
  const rows = await queries.query<Record<string, string>>(
    `select organisation_id, ${KPI_GROUPINGS[filter.groupBy]} as "group", model, sum(requests) as requests,
       sum(errors) as errors, sum(prompt_tokens) as prompt, sum(cached_tokens) as cached,
       sum(completion_tokens) as completion, sum(cost) as cost
     from usage_hourly where ${where} group by 1, 2, 3`,
    values,
  )
  return rows.map((row) => ({
    organisationId: row['organisation_id'] ?? '',
    group: row['group'] ?? '',
    model: row['model'] ?? '',
    requests: Number(row['requests']),
    errors: Number(row['errors']),
    promptTokens: Number(row['prompt']),
    cachedTokens: Number(row['cached']),
    completionTokens: Number(row['completion']),
    cost: Number(row['cost']),
  }))
}

/** By hour, in the order of time; hours without a request are left out. */
export async function kpiHours(
  queries: Queries,
  filter: Omit<KpiFilter, 'groupBy'>,
): Promise<readonly HourSums[]> {
  const { where, values } = conditions(filter)
  const rows = await queries.query<{ hour: Date; requests: string; tokens: string; cost: string }>(
    `select hour, sum(requests) as requests, sum(prompt_tokens + completion_tokens) as tokens, sum(cost) as cost
     from usage_hourly where ${where} group by 1 order by 1`,
    values,
  )
  return rows.map(({ hour, requests, tokens, cost }) => ({
    atMs: hour.getTime(),
    requests: Number(requests),
    tokens: Number(tokens),
    cost: Number(cost),
  }))
}

/**
 * From the newest requests of each of those organisations, found by the index that begins with it.
 * @param organisationIds whose requests there are in the span
 */
export async function kpiDetails(
  queries: Queries,
  organisationIds: readonly string[],
  { projectId, fromMs, toMs, groupBy }: KpiFilter,
): Promise<readonly KpiDetails[]> {
  const ofProject = projectId === undefined ? '' : 'and project_id = $5'
  const rows = await queries.query<DetailsRow>(
    `select "group", grouping("group") = 1 as whole, count(*) as requests, count(cache) as hits,
       percentile_cont(array[0.5, 0.95]) within group (order by duration_ms) as durations,
       percentile_cont(array[0.5, 0.95]) within group (order by first_token_ms) as first_tokens,
       count(distinct coalesce(user_id, key_id)) as users
     from unnest($1::text[]) as asked (id) cross join lateral (
       select ${KPI_GROUPINGS[groupBy]} as "group", cache, duration_ms, first_token_ms, user_id, key_id
       from usage_records
       where organisation_id = asked.id and started_at >= $2 and started_at < $3 ${ofProject}
       order by started_at desc limit $4
     ) as found
     group by grouping sets (("group"), ())`,
    [
      organisationIds,
      new Date(fromMs),
      new Date(toMs),
      DETAILED_REQUESTS_MAX,
      ...(projectId === undefined ? [] : [projectId]),
    ],
  )
  return rows.map((row) => ({
    group: row.whole ? undefined : (row.group ?? ''),
    requests: Number(row.requests),
    cacheHits: Number(row.hits),
    durationP50Ms: row.durations?.[0] ?? undefined,
    durationP95Ms: row.durations?.[1] ?? undefined,
    firstTokenP50Ms: row.first_tokens?.[0] ?? undefined,
    firstTokenP95Ms: row.first_tokens?.[1] ?? undefined,
    activeUsers: Number(row.users),
  }))
}

function conditions({ organisationId, projectId, fromMs, toMs }: Omit<KpiFilter, 'groupBy'>) {
  const values: unknown[] = [new Date(fromMs), new Date(toMs)]
  const parts = ['hour >= $1', 'hour < $2']
  if (organisationId !== undefined) parts.push(`organisation_id = $${values.push(organisationId)}`)
  if (projectId !== undefined) parts.push(`project_id = $${values.push(projectId)}`)
  return { where: parts.join(' and '), values }
}

interface DetailsRow {
  readonly group: string | null
  readonly whole: boolean
  readonly requests: string
  readonly hits: string
  readonly durations: readonly (number | null)[] | null
  readonly first_tokens: readonly (number | null)[] | null
  readonly users: string
  readonly [column: string]: unknown
}

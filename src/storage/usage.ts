import pg from 'pg'
import { HelixError } from '../core/errors.ts'
import type { Database } from './database.ts'
import { acrossOrganisations, inOrganisation } from './tenancy.ts'

/** One request, as the table has it. */
export interface StoredUsage {
  readonly requestId: string
  readonly startedAtMs: number
  readonly durationMs: number
  readonly firstTokenMs?: number | undefined
  readonly organisationId: string
  readonly projectId: string
  readonly keyId: string
  readonly model: string
  readonly route: string
  readonly status: number
  readonly errorCode?: string | undefined
  readonly promptTokens: number
  readonly completionTokens: number
  readonly cachedTokens: number
  readonly estimated: boolean
  readonly streamed: boolean
  readonly user?: string | undefined
  readonly userId?: string | undefined
  /** In billionths. */
  readonly cost: number
  readonly cache?: 'hit' | 'coalesced' | undefined
  readonly instance: string
}

/**
 * Inserts what is not there yet, adds just that to the sums of its hours and to what was spent, and ends what was
 * reserved for it, in one statement: however often a batch comes, and from however many processes, it counts once.
 * @throws HelixError `invalid_value` when a value fits no column; else as `Database.transaction`
 */
export async function insertUsage(database: Database, batch: readonly StoredUsage[]): Promise<void> {
  try {
    // As one JSON text: a bound array per column costs more on both sides.
    const records = JSON.stringify(batch)
    await acrossOrganisations(database, (queries) => queries.query(INSERT, [records]))
  } catch (reason) {
    if (!isWrongValue(reason)) throw reason
    throw new HelixError('invalid_value', 'A usage record holds a value that cannot be kept.', {
      internal: String(reason),
      cause: reason,
    })
  }
}

// Rows and sums in the order of their keys: two processes that insert the same ones never wait for each other.
const INSERT = `
  with inserted as (
    insert into usage_records (
      organisation_id, started_at, request_id, project_id, key_id, model, route, status, error_code, prompt_tokens,
      completion_tokens, cached_tokens, estimated, streamed, duration_ms, first_token_ms, instance, user_label,
      user_id, cost, cache
    )
    select "organisationId", to_timestamp("startedAtMs" / 1000.0), "requestId", "projectId", "keyId", model, route,
      status, "errorCode", "promptTokens", "completionTokens", "cachedTokens", estimated, streamed, "durationMs",
      "firstTokenMs", instance, "user", "userId", coalesce(cost, 0), cache
    from json_to_recordset($1::json) as given (
      "organisationId" text, "startedAtMs" double precision, "requestId" text, "projectId" text, "keyId" text,
      model text, route text, status smallint, "errorCode" text, "promptTokens" bigint, "completionTokens" bigint,
      "cachedTokens" bigint, estimated boolean, streamed boolean, "durationMs" double precision,
      "firstTokenMs" double precision, instance text, "user" text, "userId" text, cost bigint, cache text
    )
    order by 1, 2, 3
    on conflict do nothing
    returning organisation_id, started_at, request_id, project_id, key_id, user_id, model, status, prompt_tokens,
      completion_tokens, cached_tokens, cost
  ), released as (
    delete from spend_reservations
    where request_id = any (array(select request_id from inserted))
      and organisation_id = any (array(select organisation_id from inserted))
  ), spent as (
    insert into spend_daily as sums
    select organisation_id, (started_at at time zone 'UTC')::date, project_id, key_id, coalesce(user_id, ''), model,
      sum(cost)
    from inserted where cost > 0
    group by 1, 2, 3, 4, 5, 6
    order by 1, 2, 3, 4, 5, 6
    on conflict (organisation_id, day, project_id, key_id, user_id, model) do update set
      cost = sums.cost + excluded.cost
  )
  insert into usage_hourly as sums (
    organisation_id, hour, project_id, model, requests, errors, prompt_tokens, completion_tokens, cached_tokens, cost
  )
  select organisation_id, date_trunc('hour', started_at, 'UTC'), project_id, model, count(*),
    count(*) filter (where status >= 400), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), sum(cost)
  from inserted
  group by 1, 2, 3, 4
  order by 1, 2, 3, 4
  on conflict (organisation_id, hour, project_id, model) do update set
    requests = sums.requests + excluded.requests,
    errors = sums.errors + excluded.errors,
    prompt_tokens = sums.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = sums.completion_tokens + excluded.completion_tokens,
    cached_tokens = sums.cached_tokens + excluded.cached_tokens,
    cost = sums.cost + excluded.cost`

/** Data that fits no type, and data that breaks a constraint. */
function isWrongValue(reason: unknown): boolean {
  const cause = reason instanceof HelixError ? reason.cause : undefined
  return cause instanceof pg.DatabaseError && /^2[23]/.test(cause.code ?? '')
}

/** What can be summed over: one expression each. */
const GROUPINGS = {
  hour: 'hour',
  day: `date_trunc('day', hour, 'UTC')`,
  model: 'model',
  project: 'project_id',
} as const

export interface UsageSummaryFilter {
  readonly organisationId: string
  readonly projectId?: string | undefined
  readonly model?: string | undefined
  readonly fromMs: number
  readonly toMs: number
  readonly groupBy: keyof typeof GROUPINGS
}

export interface UsageSums {
  readonly group: string
  readonly requests: number
  readonly errors: number
  readonly promptTokens: number
  readonly completionTokens: number
  readonly cachedTokens: number
  /** In billionths. */
  readonly cost: number
}

/** From the sums per hour, in the order of the groups. The hour of `fromMs` counts whole, that of `toMs` not at all. */
export async function usageSummary(
  database: Database,
  filter: UsageSummaryFilter,
): Promise<readonly UsageSums[]> {
  const conditions = new Conditions(filter.organisationId)
  conditions.add('hour >=', startOfHour(filter.fromMs))
  conditions.add('hour <', startOfHour(filter.toMs))
  conditions.addGiven(filter)
  const rows = await inOrganisation(database, filter.organisationId, (queries) =>
    queries.query<SumsRow>(
      `select ${GROUPINGS[filter.groupBy]} as "group", sum(requests) as requests, sum(errors) as errors,
         sum(prompt_tokens) as prompt, sum(completion_tokens) as completion, sum(cached_tokens) as cached,
         sum(cost) as cost
       from usage_hourly where ${conditions.text} group by 1 order by 1`,
      conditions.values,
    ),
  )
  return rows.map(toSums)
}

export interface UsageFilter {
  readonly organisationId: string
  readonly projectId?: string | undefined
  readonly model?: string | undefined
  readonly fromMs: number
  readonly toMs: number
  readonly limit: number
  readonly after?: { readonly startedAtMs: number; readonly requestId: string } | undefined
}

/** Newest first; after the given one, where one is given. */
export async function listUsage(database: Database, filter: UsageFilter): Promise<readonly StoredUsage[]> {
  const conditions = new Conditions(filter.organisationId)
  conditions.add('started_at >=', new Date(filter.fromMs))
  conditions.add('started_at <', new Date(filter.toMs))
  conditions.addGiven(filter)
  if (filter.after) {
    const { startedAtMs, requestId } = filter.after
    conditions.add('(started_at, request_id) <', new Date(startedAtMs), requestId)
  }
  const rows = await inOrganisation(database, filter.organisationId, (queries) =>
    queries.query<UsageRow>(
      `select * from usage_records where ${conditions.text}
       order by started_at desc, request_id desc limit $${conditions.values.length + 1}`,
      [...conditions.values, filter.limit],
    ),
  )
  return rows.map(toUsage)
}

/** The conditions of one statement, with their values bound. */
class Conditions {
  readonly values: unknown[] = []
  private readonly parts: string[] = []

  constructor(organisationId: string) {
    this.add('organisation_id =', organisationId)
  }

  /** @param comparison a constant of this file, never a caller's text */
  add(comparison: string, ...values: readonly unknown[]): void {
    const places = values.map((value) => `$${this.values.push(value)}`)
    this.parts.push(`${comparison} ${places.length === 1 ? places[0] : `(${places.join(', ')})`}`)
  }

  addGiven({ projectId, model }: { projectId?: string | undefined; model?: string | undefined }): void {
    if (projectId !== undefined) this.add('project_id =', projectId)
    if (model !== undefined) this.add('model =', model)
  }

  get text(): string {
    return this.parts.join(' and ')
  }
}

const HOUR_MS = 3_600_000

function startOfHour(atMs: number): Date {
  return new Date(Math.floor(atMs / HOUR_MS) * HOUR_MS)
}

interface SumsRow {
  readonly group: string | Date
  // Sums of bigint come as text.
  readonly requests: string
  readonly errors: string
  readonly prompt: string
  readonly completion: string
  readonly cached: string
  readonly cost: string
}

function toSums(row: SumsRow): UsageSums {
  return {
    group: row.group instanceof Date ? row.group.toISOString() : row.group,
    requests: Number(row.requests),
    errors: Number(row.errors),
    promptTokens: Number(row.prompt),
    completionTokens: Number(row.completion),
    cachedTokens: Number(row.cached),
    cost: Number(row.cost),
  }
}

interface UsageRow {
  readonly request_id: string
  readonly started_at: Date
  readonly duration_ms: number
  readonly first_token_ms: number | null
  readonly organisation_id: string
  readonly project_id: string
  readonly key_id: string
  readonly model: string
  readonly route: string
  readonly status: number
  readonly error_code: string | null
  readonly prompt_tokens: string
  readonly completion_tokens: string
  readonly cached_tokens: string
  readonly estimated: boolean
  readonly streamed: boolean
  readonly user_label: string | null
  readonly user_id: string | null
  readonly cost: string
  readonly cache: StoredUsage['cache'] | null
  readonly instance: string
}

function toUsage(row: UsageRow): StoredUsage {
  return {
    requestId: row.request_id,
    startedAtMs: row.started_at.getTime(),
    durationMs: row.duration_ms,
    firstTokenMs: row.first_token_ms ?? undefined,
    organisationId: row.organisation_id,
    projectId: row.project_id,
    keyId: row.key_id,
    model: row.model,
    route: row.route,
    status: row.status,
    errorCode: row.error_code ?? undefined,
    promptTokens: Number(row.prompt_tokens),
    completionTokens: Number(row.completion_tokens),
    cachedTokens: Number(row.cached_tokens),
    estimated: row.estimated,
    streamed: row.streamed,
    user: row.user_label ?? undefined,
    userId: row.user_id ?? undefined,
    cost: Number(row.cost),
    cache: row.cache ?? undefined,
    instance: row.instance,
  }
}

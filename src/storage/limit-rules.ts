import { type LimitedParty, type LimitRule, slotOf } from '../contracts/limits.ts'
import { type LimitRuleRow, toLimitRule } from './limit-rule-row.ts'
import { beforePosition, type Page } from './page.ts'
import type { TenantQueries } from './tenancy.ts'

export interface StoredLimitRule extends LimitRule {
  readonly organisationId: string
  /** The project that it lies on, or whose key it lies on. */
  readonly projectId: string | undefined
  readonly createdAtMs: number
}

/** In place of the one that said the same thing of the same holder, whose id and age it gets. */
export async function putLimitRule(queries: TenantQueries, rule: StoredLimitRule): Promise<StoredLimitRule> {
  const rows = await queries.query<LimitRuleRow>(
    `insert into limit_rules
       (id, organisation_id, holder_kind, holder_id, project_id, key_id, user_id, each, measure, model, amount,
        algorithm, window_ms, burst, period, shape_max_wait_ms, slot, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
     on conflict (organisation_id, holder_id, slot) do update set
       amount = excluded.amount, algorithm = excluded.algorithm, burst = excluded.burst,
       shape_max_wait_ms = excluded.shape_max_wait_ms
     returning *`,
    [
      rule.id,
      rule.organisationId,
      rule.on.kind,
      rule.on.id,
      rule.projectId ?? null,
      rule.on.kind === 'key' ? rule.on.id : null,
      rule.on.kind === 'user' ? rule.on.id : null,
      rule.each ?? null,
      rule.measure,
      rule.model ?? null,
      rule.amount,
      rule.algorithm,
      rule.windowMs,
      rule.burst ?? null,
      rule.period ?? null,
      rule.shapeMaxWaitMs,
      slotOf(rule),
      new Date(rule.createdAtMs),
    ],
  )
  return rows[0] ? toStored(rows[0]) : rule
}

export async function findLimitRule(
  queries: TenantQueries,
  { organisationId, id }: { organisationId: string; id: string },
): Promise<StoredLimitRule | undefined> {
  const rows = await queries.query<LimitRuleRow>(
    'select * from limit_rules where organisation_id = $1 and id = $2',
    [organisationId, id],
  )
  return rows[0] && toStored(rows[0])
}

/** What a holder's rule about the same thing says. */
export async function findLimitRuleOfSlot(
  queries: TenantQueries,
  { organisationId, holderId, slot }: { organisationId: string; holderId: string; slot: string },
): Promise<StoredLimitRule | undefined> {
  const rows = await queries.query<LimitRuleRow>(
    'select * from limit_rules where organisation_id = $1 and holder_id = $2 and slot = $3',
    [organisationId, holderId, slot],
  )
  return rows[0] && toStored(rows[0])
}

export async function removeLimitRule(
  queries: TenantQueries,
  { organisationId, id }: { organisationId: string; id: string },
): Promise<void> {
  await queries.query('delete from limit_rules where organisation_id = $1 and id = $2', [organisationId, id])
}

export interface LimitRuleFilter {
  readonly organisationId: string
  /** Only what lies on these projects or their keys; undefined: everything. */
  readonly among: readonly string[] | undefined
  readonly keyId?: string | undefined
  readonly userId?: string | undefined
  readonly model?: string | undefined
  readonly measure?: string | undefined
}

/** Newest first. */
export async function listLimitRules(
  queries: TenantQueries,
  filter: LimitRuleFilter,
  page: Page,
): Promise<readonly StoredLimitRule[]> {
  const rows = await queries.query<LimitRuleRow>(
    `select * from limit_rules
     where organisation_id = $1
       and ($2::text[] is null or project_id = any ($2))
       and ($3::text is null or key_id = $3)
       and ($4::text is null or user_id = $4)
       and ($5::text is null or model = $5)
       and ($6::text is null or measure = $6)
       and (created_at, id) < ($7, $8)
     order by created_at desc, id desc limit $9`,
    [
      filter.organisationId,
      filter.among ?? null,
      filter.keyId ?? null,
      filter.userId ?? null,
      filter.model ?? null,
      filter.measure ?? null,
      ...beforePosition(page),
      page.limit,
    ],
  )
  return rows.map(toStored)
}

/** All that lies on somebody, their project or their organisation; which of them bind is `effectiveLimits`' to say. */
export async function limitRulesFor(
  queries: TenantQueries,
  { organisationId, projectId, keyId, userId }: LimitedParty,
): Promise<readonly LimitRule[]> {
  const holders = [organisationId, projectId, keyId, userId].filter((one) => one !== undefined)
  const rows = await queries.query<LimitRuleRow>(
    'select * from limit_rules where organisation_id = $1 and holder_id = any ($2)',
    [organisationId, holders],
  )
  return rows.map(toLimitRule)
}

function toStored(row: LimitRuleRow): StoredLimitRule {
  return {
    ...toLimitRule(row),
    organisationId: row.organisation_id,
    projectId: row.project_id ?? undefined,
    createdAtMs: new Date(row.created_at).getTime(),
  }
}

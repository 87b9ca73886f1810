import type { LimitHolder, LimitRule } from '../contracts/limits.ts'
import type { TenantQueries } from './tenancy.ts'

export interface BudgetUse {
  readonly ruleId: string
  /** What was spent, divided by what may be; of a rule that counts for each by itself, of whoever has spent most. */
  readonly usedRatio: number
}

export interface BudgetUseQuery {
  readonly nowMs: number
  /** Less full ones are left out. */
  readonly ratioMin: number
  readonly budgetsMax: number
}

const COLUMNS: Readonly<Record<Exclude<LimitHolder, 'organisation'>, string>> = {
  project: 'spend.project_id',
  key: 'spend.key_id',
  user: 'spend.user_id',
}

const HELD: Readonly<Record<LimitHolder, string>> = {
  organisation: '',
  project: 'and spend.project_id = rule.holder_id',
  key: 'and spend.key_id = rule.holder_id',
  user: 'and spend.user_id = rule.holder_id',
}

/** Who may have a rule of their own about the same thing, in whose place the default does not hold. */
const DEFAULTS: readonly (readonly [LimitHolder, NonNullable<LimitRule['each']>, readonly string[]])[] = [
  ['organisation', 'project', ['spend.project_id']],
  ['organisation', 'key', ['spend.key_id', 'spend.project_id']],
  ['organisation', 'user', ['spend.user_id', 'spend.project_id']],
  ['project', 'key', ['spend.key_id']],
  ['project', 'user', ['spend.user_id']],
]

function spendOf(holder: LimitHolder): string {
  return `from spend_daily as spend
    where spend.organisation_id = rule.organisation_id and spend.day >= rule.since ${HELD[holder]}
      and (rule.model is null or spend.model = rule.model)`
}

/** One branch for each kind of rule: only then does each find its rows by its own index. */
const BRANCHES = [
  ...(['organisation', 'project', 'key', 'user'] as const).map(
    (holder) => `when '${holder}' then (select sum(spend.cost) ${spendOf(holder)})`,
  ),
  ...DEFAULTS.map(
    ([holder, each, closer]) => `when '${holder} ${each}' then (
      select max(total) from (
        select sum(spend.cost) as total ${spendOf(holder)} and ${COLUMNS[each]} <> ''
          and not exists (
            select from limit_rules as closer
            where closer.organisation_id = rule.organisation_id and closer.slot = rule.slot
              and closer.holder_id in (${closer.join(', ')}))
        group by ${COLUMNS[each]}) as of_each)`,
  ),
].join('\n')

const READ = `
  select id, spent / amount::float8 as used from (
    select rule.id, rule.amount, case rule.kind ${BRANCHES} end as spent
    from (
      select *, concat_ws(' ', holder_kind, each) as kind,
        date_trunc(period, $1::timestamptz at time zone 'UTC')::date as since
      from limit_rules where period is not null
    ) as rule
  ) as budget
  where spent >= amount * $2::float8
  order by used desc limit $3`

/** The fullest budgets of all organisations, by the records that have arrived. */
export async function fullestBudgets(
  queries: TenantQueries,
  { nowMs, ratioMin, budgetsMax }: BudgetUseQuery,
): Promise<readonly BudgetUse[]> {
  const rows = await queries.query<{ id: string; used: number }>(READ, [
    new Date(nowMs),
    ratioMin,
    budgetsMax,
  ])
  return rows.map(({ id, used }) => ({ ruleId: id, usedRatio: used }))
}

import type { Logger } from '../core/log.ts'
import { ADVISORY_LOCKS } from './advisory-locks.ts'
import type { Database } from './database.ts'
import { acrossOrganisations, type TenantQueries } from './tenancy.ts'

export interface UsageUpkeep {
  readonly nowMs: number
  /** Records of a month are dropped when its last moment is older; sums per hour go one by one. */
  readonly retentionMs: number
  readonly log: Logger
}

/** This month and so many after it have their partition before they begin. */
const MONTHS_AHEAD = 2

/** However soon records go, what was spent in a month is known until it is over. */
const BUDGET_PERIOD_MAX_MS = 31 * 86_400_000

/**
 * Makes the partitions of the coming months, moves into them what came before they were there, and drops what is older
 * than is to be kept, with reservations that have expired. Of several processes that do this at the same time one does it, the others return at once.
 * @throws HelixError as `Database.transaction`
 */
export async function keepUsagePartitions(database: Database, upkeep: UsageUpkeep): Promise<void> {
  await acrossOrganisations(database, async (queries) => {
    const [lock] = await queries.query<{ locked: boolean }>(
      'select pg_try_advisory_xact_lock($1) as locked',
      [ADVISORY_LOCKS.usagePartitions],
    )
    if (!lock?.locked) return
    await makeMonths(queries, upkeep)
    await dropOldMonths(queries, upkeep)
    const { nowMs, retentionMs } = upkeep
    const oldest = new Date(nowMs - retentionMs)
    await queries.query('delete from usage_records_default where started_at < $1', [oldest])
    await queries.query(`delete from usage_hourly where hour < date_trunc('hour', $1::timestamptz, 'UTC')`, [
      oldest,
    ])
    const oldestSpend = new Date(nowMs - Math.max(retentionMs, BUDGET_PERIOD_MAX_MS))
    await queries.query(`delete from spend_daily where day < ($1::timestamptz at time zone 'UTC')::date`, [
      oldestSpend,
    ])
    await queries.query('delete from spend_reservations where expires_at < $1', [new Date(nowMs)])
  })
}

/** A month in UTC, and the name of its partition. */
interface Month {
  readonly table: string
  readonly from: string
  readonly to: string
}

async function makeMonths(queries: TenantQueries, { nowMs, log }: UsageUpkeep): Promise<void> {
  const present = new Set(await monthTables(queries))
  for (let ahead = 0; ahead <= MONTHS_AHEAD; ahead++) {
    const month = monthOf(nowMs, ahead)
    if (present.has(month.table)) continue
    await makeMonth(queries, month)
    log.info('usage partition made', { partition: month.table })
  }
}

/** Made beside the whole and then attached, since what the default partition holds has to move between the two. */
async function makeMonth(queries: TenantQueries, { table, from, to }: Month): Promise<void> {
  await queries.query(`
    create table ${table} (like usage_records including defaults including constraints);
    alter table ${table} enable row level security;
    alter table ${table} force row level security;
    create policy tenant on ${table}
      using (current_setting('helixflow.organisation', true) in ('*', organisation_id));
    lock table usage_records_default in access exclusive mode;
    with moved as (
      delete from usage_records_default where started_at >= '${from}' and started_at < '${to}' returning *
    )
    insert into ${table} select * from moved;
    alter table usage_records attach partition ${table} for values from ('${from}') to ('${to}');`)
}

async function dropOldMonths(
  queries: TenantQueries,
  { nowMs, retentionMs, log }: UsageUpkeep,
): Promise<void> {
  // The name of the first month of which anything is kept; names are in the order of time.
  const first = monthOf(nowMs - retentionMs, 0).table
  for (const table of await monthTables(queries)) {
    if (table >= first) continue
    await queries.query(`drop table ${table}`)
    log.info('usage partition dropped', { partition: table })
  }
}

async function monthTables(queries: TenantQueries): Promise<readonly string[]> {
  const rows = await queries.query<{ name: string }>(
    `select child.relname as name from pg_inherits join pg_class child on child.oid = inhrelid
     where inhparent = 'usage_records'::regclass and child.relname ~ '^usage_records_[0-9]{4}_[0-9]{2}$'
     order by 1`,
  )
  return rows.map(({ name }) => name)
}

function monthOf(atMs: number, ahead: number): Month {
  const at = new Date(atMs)
  const start = (months: number) => new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + months, 1))
  const from = start(ahead).toISOString()
  return {
    table: `usage_records_${from.slice(0, 7).replace('-', '_')}`,
    from,
    to: start(ahead + 1).toISOString(),
  }
}

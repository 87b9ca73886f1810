import { HelixError } from '../core/errors.ts'
import type { Queries } from './database.ts'

const ORDERS = { total: 'total_exec_time', mean: 'mean_exec_time', calls: 'calls' } as const

export type StatementOrder = keyof typeof ORDERS

export interface StatementStatistics {
  /** Without its values. */
  readonly statement: string
  readonly calls: number
  readonly totalMs: number
  readonly meanMs: number
  readonly maxMs: number
  readonly rows: number
  /** Of the pages it needed, the share that was in memory; undefined when it needed none. */
  readonly hitRatio: number | undefined
}

export interface SlowStatements {
  /** Since when they are counted. */
  readonly sinceMs: number
  readonly statements: readonly StatementStatistics[]
}

export const HOW_TO_COUNT =
  "In postgresql.conf set shared_preload_libraries = 'pg_stat_statements', restart the server, and as a superuser, in this database: create extension pg_stat_statements;"

/** The library defines this setting only when it was loaded with the server. */
export async function countsStatements(database: Queries): Promise<boolean> {
  const rows = await database.query(
    `select from pg_settings, pg_extension where name = 'pg_stat_statements.max' and extname = 'pg_stat_statements'`,
  )
  return rows.length > 0
}

/**
 * What this database spent its time on, the worst first.
 * @throws HelixError `invalid_configuration` where the server does not count; `storage_unavailable`
 */
export async function slowestStatements(
  database: Queries,
  { sort, limit }: { readonly sort: StatementOrder; readonly limit: number },
): Promise<SlowStatements> {
  if (!(await countsStatements(database)))
    throw new HelixError(
      'invalid_configuration',
      `The database does not count its statements. ${HOW_TO_COUNT}`,
    )
  const [info] = await database.query<{ since: Date }>(
    'select stats_reset as since from pg_stat_statements_info',
  )
  const rows = await database.query<StatementRow>(
    `select query, calls::float8 as calls, total_exec_time as total, mean_exec_time as mean,
            max_exec_time as max, rows::float8 as rows,
            shared_blks_hit / nullif(shared_blks_hit + shared_blks_read, 0)::float8 as hits
     from pg_stat_statements
     where dbid = (select oid from pg_database where datname = current_database())
     order by ${ORDERS[sort]} desc, queryid limit $1`,
    [limit],
  )
  return { sinceMs: info?.since.getTime() ?? 0, statements: rows.map(toStatistics) }
}

interface StatementRow {
  readonly query: string
  readonly calls: number
  readonly total: number
  readonly mean: number
  readonly max: number
  readonly rows: number
  readonly hits: number | null
}

function toStatistics(row: StatementRow): StatementStatistics {
  return {
    statement: row.query.replaceAll(/\s+/g, ' ').trim(),
    calls: row.calls,
    totalMs: row.total,
    meanMs: row.mean,
    maxMs: row.max,
    rows: row.rows,
    hitRatio: row.hits ?? undefined,
  }
}

import type { Queries } from '../database.ts'
import { advice, bytesText, type Check, type Outcome, ok, problem } from './check.ts'

/** From here on reading a whole table is felt. */
export const LARGE_TABLE_ROWS = 10_000
const UNUSED_INDEX_BYTES_MIN = 2 ** 20
const WHOLE_READS_MIN = 20
/** Scans that end early, as with a limit, read less. */
const WHOLE_READ_SHARE_MIN = 0.05
const DEAD_SHARE_MAX = 0.2
const BLOAT_BYTES_MIN = 16 * 2 ** 20
const BLOAT_SHARE_MAX = 0.5

const invalidIndexes = forEachRow<{ name: string }>({
  name: 'invalid indexes',
  sql: `select indexrelid::regclass::text as name from pg_index
        where not indisvalid and indexrelid not in
          (select index_relid from pg_stat_progress_create_index where index_relid is not null)`,
  nothing: 'none',
  outcome: ({ name }) =>
    problem(
      `${name} was not built to its end: it is kept up to date and helps nobody.`,
      `reindex index concurrently ${name};`,
    ),
})

/** A deleted or changed parent looks for its children; without an index by reading all of them. */
const foreignKeys = forEachRow<{ table: string; columns: string }>({
  name: 'foreign keys',
  sql: `select conrelid::regclass::text as table, string_agg(attname, ', ' order by place) as columns
        from pg_constraint
        cross join unnest(conkey) with ordinality as key (number, place)
        join pg_attribute on attrelid = conrelid and attnum = number
        where contype = 'f' and conparentid = 0 and not exists (
          select from pg_index
          where indrelid = conrelid and indisvalid and indpred is null
            and (indkey::int2[])[0:cardinality(conkey) - 1] @> conkey)
        group by pg_constraint.oid, conrelid`,
  nothing: 'each has an index',
  outcome: ({ table, columns }) =>
    advice(
      `${table} (${columns}) refers to another table and has no index.`,
      `create index concurrently on ${table} (${columns});`,
    ),
})

/** Told by the rows that were read: each worker of a parallel scan counts as a scan of its own. */
const sequentialScans = forEachRow<{ name: string; times: number; rows: number }>({
  name: 'sequential scans',
  sql: `select relid::regclass::text as name, floor(seq_tup_read::float8 / n_live_tup) as times,
               n_live_tup::float8 as rows
        from pg_stat_user_tables
        where n_live_tup >= ${LARGE_TABLE_ROWS} and seq_tup_read >= n_live_tup * ${WHOLE_READS_MIN}
          and seq_tup_read >= seq_scan * n_live_tup * ${WHOLE_READ_SHARE_MIN}
          and seq_scan > coalesce(idx_scan, 0) * 0.01
        order by seq_tup_read desc limit 10`,
  nothing: 'no large table is read as a whole again and again',
  outcome: ({ name, times, rows }) =>
    advice(
      `${name} (${rows} rows) was read as a whole ${times} times: an index is missing.`,
      "'helixflow db queries' shows the statements; explain (analyze, buffers) shows why.",
    ),
})

const unusedIndexes = forEachRow<{ name: string; bytes: number; since: Date | null }>({
  name: 'unused indexes',
  sql: `select indexrelid::regclass::text as name, pg_relation_size(indexrelid)::float8 as bytes,
               (select stats_reset from pg_stat_database where datname = current_database()) as since
        from pg_stat_user_indexes join pg_index using (indexrelid)
        where idx_scan = 0 and not indisunique and indisvalid
          and pg_relation_size(indexrelid) >= ${UNUSED_INDEX_BYTES_MIN}
        order by bytes desc limit 10`,
  nothing: 'none of 1 MiB or more',
  outcome: ({ name, bytes, since }) =>
    advice(
      `${name} (${bytesText(bytes)}) was never read${since ? ` since ${since.toISOString().slice(0, 10)}` : ''}, and every change writes it.`,
      `When all servers of this database say so (replicas count for themselves): drop index concurrently ${name};`,
    ),
})

const deadRows = forEachRow<{ name: string; dead: number; live: number; vacuumed: Date | null }>({
  name: 'dead rows',
  sql: `select relid::regclass::text as name, n_dead_tup::float8 as dead, n_live_tup::float8 as live,
               greatest(last_vacuum, last_autovacuum) as vacuumed
        from pg_stat_user_tables
        where n_dead_tup >= ${LARGE_TABLE_ROWS} and n_dead_tup > ${DEAD_SHARE_MAX} * (n_dead_tup + n_live_tup)
        order by n_dead_tup desc limit 10`,
  nothing: 'few everywhere',
  outcome: ({ name, dead, live, vacuumed }) =>
    advice(
      `${name} holds ${dead} dead rows beside ${live} live ones; last vacuumed ${vacuumed?.toISOString() ?? 'never'}.`,
      `vacuum (analyze) ${name}; if they stay, a transaction is still open that may see them.`,
    ),
})

/** What the rows would take, by the planner's statistics, against what the table takes. Good to a tenth or so. */
const bloat = forEachRow<{ name: string; bytes: number; wasted: number }>({
  name: 'bloat',
  sql: `with widths as (
          select schemaname, tablename, sum((1 - null_frac) * avg_width) as width
          from pg_stats group by schemaname, tablename),
        tables as (
          select pg_class.oid, pg_relation_size(pg_class.oid)::float8 as bytes,
                 reltuples * (width + 28) as needed
          from pg_class
          join pg_namespace on pg_namespace.oid = relnamespace
          join widths on schemaname = nspname and tablename = relname
          where relkind = 'r' and reltuples >= 0 and nspname not in ('pg_catalog', 'information_schema'))
        select oid::regclass::text as name, bytes, bytes - needed as wasted
        from tables
        where bytes - needed >= ${BLOAT_BYTES_MIN} and bytes - needed >= bytes * ${BLOAT_SHARE_MAX}
        order by bytes - needed desc limit 10`,
  nothing: 'no table is mostly empty',
  outcome: ({ name, bytes, wasted }) =>
    advice(
      `${name} takes ${bytesText(bytes)}, of which about ${bytesText(wasted)} is empty.`,
      `New rows fill it again. To have it back now, in a quiet hour, since it locks the table: vacuum full ${name};`,
    ),
})

export const TABLE_CHECKS: readonly Check[] = [
  invalidIndexes,
  foreignKeys,
  sequentialScans,
  unusedIndexes,
  deadRows,
  bloat,
]

/** A check whose statement returns a row for each thing that is wrong. */
function forEachRow<Row extends object>(check: {
  readonly name: string
  readonly sql: string
  readonly nothing: string
  outcome(row: Row): Outcome
}): Check {
  const { name, sql, nothing, outcome } = check
  return {
    name,
    run: async (database: Queries) => {
      const rows = await database.query<Row & Record<string, unknown>>(sql)
      return rows.length > 0 ? rows.map(outcome) : ok(nothing)
    },
  }
}

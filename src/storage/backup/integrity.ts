import { HelixError } from '../../core/errors.ts'
import type { OnProgress } from '../../core/progress.ts'
import { listTables } from './content-digest.ts'
import type { Session } from './session.ts'

/**
 * Reads every table and index of a database to the last page and compares each index with its table, by PostgreSQL's
 * own amcheck where it is installed. Pages carry checksums, so what the disk has spoilt is found by reading.
 */
export async function checkIntegrity(
  session: Session,
  signal: AbortSignal,
  onProgress: OnProgress,
): Promise<{ readonly problems: readonly string[]; readonly amcheck: boolean }> {
  const amcheck = await session.query('create extension if not exists amcheck').then(
    () => true,
    () => false,
  )
  const tables = await listTables(session)
  const indexes = amcheck ? await listIndexes(session) : []
  const checks = [
    ...tables.map(({ name, identifier }) => ({
      name: `table ${name}`,
      sql: tableCheck(identifier, amcheck),
    })),
    ...indexes.map(({ name, oid }) => ({
      name: `index ${name}`,
      sql: `select null as problem from bt_index_check(${Number(oid)}::regclass, true) limit 0`,
    })),
  ]
  const problems: string[] = []
  for (const [index, { name, sql }] of checks.entries()) {
    signal.throwIfAborted()
    const found = await session
      .query<{ problem: string }>(sql)
      .catch((reason: unknown) => [
        { problem: HelixError.from(reason).message.split('; statement:')[0] ?? '' },
      ])
    problems.push(...found.map(({ problem }) => `${name}: ${problem}`))
    onProgress({ step: 'checking tables and indexes', done: index + 1, total: checks.length, unit: 'steps' })
  }
  return { problems, amcheck }
}

function tableCheck(identifier: string, amcheck: boolean): string {
  const name = identifier.replaceAll("'", "''")
  return amcheck
    ? `select msg as problem from verify_heapam('${name}'::regclass) limit 10`
    : `select 'never' as problem where (select count(one::text) from ${identifier} one) < 0`
}

function listIndexes(session: Session): Promise<readonly { name: string; oid: string }[]> {
  return session.query<{ name: string; oid: string }>(
    `select indexes.oid::text as oid, indexes.oid::regclass::text as name
     from pg_class indexes join pg_am on pg_am.oid = relam join pg_index on indexrelid = indexes.oid
     where amname = 'btree' and relpersistence = 'p' and indisready and indisvalid and relkind = 'i'`,
  )
}

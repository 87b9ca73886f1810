import { createHash } from 'node:crypto'
import type { Session } from './session.ts'

/** What a database held, so that another one can be compared with it. */
export interface ContentDigest {
  /** Of tables, columns, indexes and constraints. */
  readonly structure: string
  readonly tables: readonly TableDigest[]
}

export interface TableDigest {
  /** With its schema. */
  readonly name: string
  readonly rows: string
  /** Sum of a hash of each row: the order of rows says nothing. */
  readonly digest: string
}

export interface Table {
  readonly name: string
  /** As SQL writes it, quoted where it must be. */
  readonly identifier: string
}

/** Every table that survives a crash; unlogged and temporary ones do not. */
export function listTables(session: Session): Promise<readonly Table[]> {
  return session.query<{ name: string; identifier: string }>(
    `select nspname || '.' || relname as name, format('%I.%I', nspname, relname) as identifier
     from pg_class join pg_namespace on pg_namespace.oid = relnamespace
     where relkind in ('r', 'm') and relpersistence = 'p'
       and nspname not in ('pg_catalog', 'information_schema') and nspname not like 'pg\\_toast%'
     order by 1`,
  )
}

/** Reads everything, which takes about a second for a million rows. */
export async function digestContent(session: Session, signal: AbortSignal): Promise<ContentDigest> {
  const tables: TableDigest[] = []
  for (const { name, identifier } of await listTables(session)) {
    signal.throwIfAborted()
    const [found] = await session.query<{ rows: string; digest: string }>(
      `select count(*)::text as rows,
         coalesce(sum(hashtextextended(one::text, 0)::numeric), 0)::text as digest from ${identifier} one`,
    )
    tables.push({ name, rows: found?.rows ?? '', digest: found?.digest ?? '' })
  }
  return { structure: await digestStructure(session), tables }
}

async function digestStructure(session: Session): Promise<string> {
  const rows = await session.query<{ line: string }>(
    `select line from (
       select format('column %s.%s %s %s %s', attrelid::regclass, attnum, attname,
         format_type(atttypid, atttypmod), attnotnull) as line
       from pg_attribute join pg_class on pg_class.oid = attrelid
       where attnum > 0 and not attisdropped and relkind in ('r', 'm', 'v', 'p') and relpersistence = 'p'
         and relnamespace not in (select oid from pg_namespace where nspname ~ '^pg_|^information_schema$')
       union all
       select 'index ' || pg_get_indexdef(indexrelid) from pg_index join pg_class on pg_class.oid = indrelid
       where relnamespace not in (select oid from pg_namespace where nspname ~ '^pg_|^information_schema$')
         and relpersistence = 'p'
       union all
       select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
       from pg_constraint
       where connamespace not in (select oid from pg_namespace where nspname ~ '^pg_|^information_schema$')
     ) all_lines order by line collate "C"`,
  )
  const hash = createHash('sha256')
  for (const { line } of rows) hash.update(`${line}\n`)
  return hash.digest('hex')
}

/** What differs, in words. */
export function compareContent(expected: ContentDigest, found: ContentDigest): readonly string[] {
  const problems: string[] = []
  if (expected.structure !== found.structure) problems.push('tables or indexes are defined otherwise')
  const byName = new Map(found.tables.map((table) => [table.name, table]))
  for (const { name, rows, digest } of expected.tables) {
    const table = byName.get(name)
    byName.delete(name)
    if (!table) problems.push(`table ${name} is missing`)
    else if (table.rows !== rows) problems.push(`table ${name} has ${table.rows} rows instead of ${rows}`)
    else if (table.digest !== digest) problems.push(`table ${name} holds other rows`)
  }
  for (const name of byName.keys()) problems.push(`table ${name} was not there`)
  return problems
}

import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { Queries } from './database.ts'

/** What the database should have beside its core, and what for. */
export const EXTENSIONS = [
  { name: 'pg_stat_statements', purpose: 'the slowest statements of helixflow db queries' },
  { name: 'pg_trgm', purpose: 'searching in names and texts' },
  { name: 'btree_gin', purpose: 'one index over a tenant and a text' },
] as const

/** Created where the server has it, and missed by nobody elsewhere: pgvector, for one index of the semantic cache. */
export const VECTOR_EXTENSION = 'vector'

export interface ExtensionState {
  readonly name: string
  /** Undefined when it is not created in this database. */
  readonly version: string | undefined
  /** Its files are there, so that it can be created. */
  readonly available: boolean
}

/** Those that a database should have, or others by their names. */
export async function findExtensions(
  database: Queries,
  names: readonly string[] = EXTENSIONS.map(({ name }) => name),
): Promise<readonly ExtensionState[]> {
  const rows = await database.query<{ name: string; version: string | null; available: boolean }>(
    `select wanted.name, installed.extversion as version,
            exists (select from pg_available_extensions where name = wanted.name) as available
     from unnest($1::text[]) with ordinality as wanted (name, place)
     left join pg_extension installed on installed.extname = wanted.name
     order by wanted.place`,
    [names],
  )
  return rows.map(({ name, version, available }) => ({ name, version: version ?? undefined, available }))
}

/**
 * Creates what is missing, as far as this server has it and this role may. Nothing that a request needs depends on
 * it, so what is refused is logged, and told by `helixflow db doctor`. Outside a transaction: a refusal would end it.
 * @throws HelixError `storage_unavailable`
 */
export async function ensureExtensions(database: Queries, log: Logger): Promise<void> {
  const names = [...EXTENSIONS.map(({ name }) => name), VECTOR_EXTENSION]
  for (const { name, version, available } of await findExtensions(database, names)) {
    if (version !== undefined || (name === VECTOR_EXTENSION && !available)) continue
    if (!available) {
      log.warn('database extension not installed on the server', { extension: name })
      continue
    }
    try {
      await database.query(`create extension if not exists ${name}`)
    } catch (reason) {
      // A library that is missing and a server that is gone have codes alike; only the first leaves this working.
      await database.query('select 1')
      log.warn('database extension refused', { extension: name, cause: HelixError.from(reason).message })
    }
  }
}

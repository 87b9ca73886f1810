import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type { Queries } from './database.ts'

export interface MigrationState {
  /** Files of this program that the database has not seen, in their order. */
  readonly pending: readonly string[]
  /** Applied by a newer program, or with another content than this program's file of that number has. */
  readonly foreign: readonly string[]
  readonly appliedCount: number
}

/**
 * How the schema stands against this program's migrations. Changes nothing, not even in an empty database.
 * @throws HelixError `storage_unavailable`
 */
export async function migrationState(
  database: Queries,
  directory = new URL('./migrations/', import.meta.url),
): Promise<MigrationState> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort()
  const own = await Promise.all(
    names.map(async (name) => {
      const content = await readFile(new URL(name, directory), 'utf8')
      return { name, checksum: createHash('sha256').update(content).digest('hex') }
    }),
  )
  const applied = await readApplied(database)
  const foreign = applied.filter(({ checksum }, index) => own[index]?.checksum !== checksum)
  return {
    pending: own.slice(applied.length).map(({ name }) => name),
    foreign: foreign.map(({ name }) => name),
    appliedCount: applied.length,
  }
}

async function readApplied(database: Queries): Promise<readonly { name: string; checksum: string }[]> {
  const [table] = await database.query<{ name: string | null }>(
    `select to_regclass('schema_migrations')::text as name`,
  )
  if (!table?.name) return []
  return database.query('select name, checksum from schema_migrations order by number')
}

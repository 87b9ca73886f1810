import { HelixError } from '../core/errors.ts'
import { type Migration, OWN_MIGRATIONS, readMigrations } from './migration-files.ts'
import type { Queries } from './session.ts'

export interface AppliedMigration {
  readonly number: number
  readonly name: string
  readonly checksum: string
  readonly oldestProgram: number
}

export interface SchemaVersion {
  /** The last migration of the database. */
  readonly applied: number
  /** The last one that this program knows. */
  readonly known: number
  /** Undefined when this program works on that schema; else what is wrong and what to do, for operators. */
  readonly problem: string | undefined
}

/**
 * Whether this program works on the schema as it is now: another one may have changed it since the start.
 * @throws HelixError `storage_unavailable`
 */
export async function readSchemaVersion(
  database: Queries,
  directory = OWN_MIGRATIONS,
): Promise<SchemaVersion> {
  const migrations = await readMigrations(directory)
  const applied = await readApplied(database)
  return {
    applied: applied.length,
    known: migrations.length,
    problem: schemaProblem(applied, migrations) ?? missingProblem(applied, migrations),
  }
}

/** What was applied so far, also by a program that kept less about it. */
export async function readApplied(queries: Queries): Promise<readonly AppliedMigration[]> {
  // Not by to_regclass: a connection remembers its last answer, and that there was none, past the waiting for a lock.
  const found = await queries.query(
    `select from pg_class where relname = 'schema_migrations' and pg_table_is_visible(oid)`,
  )
  if (found.length === 0) return []
  const rows = await queries.query<{
    number: number
    name: string
    checksum: string
    oldest_program?: number
  }>('select * from schema_migrations order by number')
  return rows.map(({ number, name, checksum, oldest_program = 0 }) => {
    return { number, name, checksum, oldestProgram: oldest_program }
  })
}

/** Why a program with these migrations must not use the schema, or undefined. A newer one is fine while it fits. */
export function schemaProblem(
  applied: readonly AppliedMigration[],
  migrations: readonly Migration[],
): string | undefined {
  const changed = applied.find(({ number, checksum }, index) => {
    const own = migrations[index]
    return own && (own.number !== number || own.checksum !== checksum)
  })
  if (changed) {
    const own = migrations.find(({ number }) => number === changed.number)
    return `The database was made with another ${changed.name} than this HelixFlow has (${own?.name}). Files that were applied never change: restore the file, or start the version that made the database.`
  }
  const contracting = applied.find(({ oldestProgram }) => oldestProgram > migrations.length)
  const last = applied.at(-1)
  if (!contracting || !last) return undefined
  return `The database was used by a newer HelixFlow (it has ${last.name}, which this one does not know), and ${contracting.name} took away what this one needs. Start a newer version, or restore a backup from before the update.`
}

function missingProblem(
  applied: readonly AppliedMigration[],
  migrations: readonly Migration[],
): string | undefined {
  const missing = migrations[applied.length]
  return (
    missing &&
    `The database lacks ${missing.name}, which this HelixFlow needs. Start it again: that applies it.`
  )
}

/** @throws HelixError `migration_failed` */
export function refuseForeignSchema(
  applied: readonly AppliedMigration[],
  migrations: readonly Migration[],
): void {
  const problem = schemaProblem(applied, migrations)
  if (problem !== undefined) throw new HelixError('migration_failed', problem)
}

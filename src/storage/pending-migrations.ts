import { OWN_MIGRATIONS, readMigrations } from './migration-files.ts'
import { readApplied } from './schema-version.ts'
import type { Queries } from './session.ts'

export interface MigrationState {
  /** Files of this program that the database has not seen, in their order. */
  readonly pending: readonly string[]
  /** What keeps this program off: applied with another content, or by a newer program that took something away. */
  readonly foreign: readonly string[]
  readonly appliedCount: number
}

/**
 * How the schema stands against this program's migrations. Changes nothing, not even in an empty database.
 * @throws HelixError `storage_unavailable`
 */
export async function migrationState(database: Queries, directory = OWN_MIGRATIONS): Promise<MigrationState> {
  const own = await readMigrations(directory)
  const applied = await readApplied(database)
  const foreign = applied.filter(({ checksum, oldestProgram }, index) => {
    const known = own[index]
    return known ? known.checksum !== checksum : oldestProgram > own.length
  })
  return {
    pending: own.slice(applied.length).map(({ name }) => name),
    foreign: foreign.map(({ name }) => name),
    appliedCount: applied.length,
  }
}

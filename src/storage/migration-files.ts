import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { HelixError } from '../core/errors.ts'

export interface Migration {
  readonly number: number
  /** `0001-accounts.sql` */
  readonly name: string
  readonly sql: string
  readonly checksum: string
  /**
   * The oldest program that works on the schema after it, named by the last migration that it knows. 0 for one that
   * only expands: with it every program works that worked before.
   */
  readonly oldestProgram: number
}

/** This program's own. */
export const OWN_MIGRATIONS = new URL('./migrations/', import.meta.url)

/**
 * The numbered files, in order. One that takes away what an older program still uses begins with the line
 * `-- contract: from 0007`: programs that know 0007 work with it, older ones do not.
 * @throws HelixError `migration_failed` when they are not numbered without a gap, or say something else there
 */
export async function readMigrations(directory: URL): Promise<readonly Migration[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort()
  const migrations = await Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, directory), 'utf8')
      const checksum = createHash('sha256').update(sql).digest('hex')
      const number = Number(/^(\d{4})-/.exec(name)?.[1])
      return { number, name, sql, checksum, oldestProgram: oldestProgramOf(name, number, sql) }
    }),
  )
  const misplaced = migrations.find(({ number }, index) => number !== index + 1)
  if (!misplaced) return migrations
  throw new HelixError(
    'migration_failed',
    `The migration files are not numbered 0001, 0002, ...: ${misplaced.name}`,
  )
}

function oldestProgramOf(name: string, number: number, sql: string): number {
  const line = /^\s*--\s*contract\b.*/i.exec(sql)?.[0]
  if (line === undefined) return 0
  const oldest = Number(/^-- contract: from (\d{4})$/.exec(line.trimEnd())?.[1])
  if (oldest >= 1 && oldest <= number) return oldest
  throw new HelixError(
    'migration_failed',
    `${name} begins with '${line.trim()}'; it must be '-- contract: from 0001' with the number of a migration up to its own`,
  )
}

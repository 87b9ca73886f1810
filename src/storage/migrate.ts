import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { ADVISORY_LOCKS } from './advisory-locks.ts'
import { openDatabase, type PostgresConnection, type Queries } from './database.ts'

export interface MigrateRequest {
  readonly connection: PostgresConnection | string
  /** Where the numbered files are; this program's own by default. */
  readonly directory?: URL | undefined
  readonly log: Logger
  readonly clock: Clock
}

/** A change to a large table takes its time; a migration that somebody else runs is waited for as long. */
const MIGRATION_TIMEOUT_MS = 3_600_000

/**
 * Brings the schema to what this program needs. Each file is one transaction under a lock, so any number of
 * processes may do this at the same time and any of them may be killed: a migration happened once, or not at all.
 * @throws HelixError `migration_failed` when a file fails, was changed after it was applied, or when the schema is
 *   newer than this program; `storage_unavailable`, `disk_full`
 */
export async function migrate({ connection, directory, log, clock }: MigrateRequest): Promise<void> {
  const migrations = await readMigrations(directory ?? new URL('./migrations/', import.meta.url))
  const database = openDatabase(connection, {
    connectionsMax: 1,
    acquireTimeoutMs: MIGRATION_TIMEOUT_MS,
    queryTimeoutMs: MIGRATION_TIMEOUT_MS,
    log,
    clock,
  })
  try {
    for (;;) {
      const applied = await database.transaction((transaction) => applyNext(transaction, migrations, clock))
      if (!applied) return
      log.info('schema migrated', { migration: applied.name })
    }
  } finally {
    await database.close()
  }
}

interface Migration {
  readonly number: number
  /** `0001-accounts.sql` */
  readonly name: string
  readonly sql: string
  readonly checksum: string
}

async function readMigrations(directory: URL): Promise<readonly Migration[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort()
  const migrations = await Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, directory), 'utf8')
      const checksum = createHash('sha256').update(sql).digest('hex')
      return { number: Number(/^(\d{4})-/.exec(name)?.[1]), name, sql, checksum }
    }),
  )
  const misplaced = migrations.find(({ number }, index) => number !== index + 1)
  if (!misplaced) return migrations
  throw new HelixError(
    'migration_failed',
    `The migration files are not numbered 0001, 0002, ...: ${misplaced.name}`,
  )
}

/** The migration that was applied, or undefined when there is none left. */
async function applyNext(
  transaction: Queries,
  migrations: readonly Migration[],
  clock: Clock,
): Promise<Migration | undefined> {
  await transaction.query('select pg_advisory_xact_lock($1)', [ADVISORY_LOCKS.migration])
  const applied = await readApplied(transaction)
  refuseForeign(applied, migrations)
  const next = migrations[applied.length]
  if (!next) return undefined
  try {
    await transaction.query(next.sql)
  } catch (reason) {
    const { code, cause } = HelixError.from(reason)
    if (code === 'storage_unavailable' || code === 'disk_full') throw reason
    const why = cause instanceof Error ? cause.message : String(reason)
    throw new HelixError(
      'migration_failed',
      `Migration ${next.name} failed, and nothing of it was kept: ${why}`,
      {
        cause: reason,
      },
    )
  }
  await transaction.query(
    'insert into schema_migrations (number, name, checksum, applied_at) values ($1, $2, $3, $4)',
    [next.number, next.name, next.checksum, new Date(clock.now())],
  )
  return next
}

interface Applied {
  readonly number: number
  readonly name: string
  readonly checksum: string
}

async function readApplied(transaction: Queries): Promise<readonly Applied[]> {
  await transaction.query(`
    create table if not exists schema_migrations (
      number integer primary key,
      name text not null,
      checksum text not null,
      applied_at timestamptz not null
    )`)
  return transaction.query<Applied>('select number, name, checksum from schema_migrations order by number')
}

function refuseForeign(applied: readonly Applied[], migrations: readonly Migration[]): void {
  for (const [index, { number, name, checksum }] of applied.entries()) {
    const own = migrations[index]
    if (!own) {
      throw new HelixError(
        'migration_failed',
        `The database was used by a newer HelixFlow (it has ${name}, which this one does not know). Start that version again, or restore a backup from before the update.`,
      )
    }
    if (own.checksum !== checksum || own.number !== number) {
      throw new HelixError(
        'migration_failed',
        `The database was made with another ${name} than this HelixFlow has (${own.name}). Files that were applied never change: restore the file, or start the version that made the database.`,
      )
    }
  }
}

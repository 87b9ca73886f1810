import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { ADVISORY_LOCKS } from './advisory-locks.ts'
import { type Database, openDatabase, type PostgresConnection, type Queries } from './database.ts'
import { type Migration, OWN_MIGRATIONS, readMigrations } from './migration-files.ts'
import { readApplied, refuseForeignSchema } from './schema-version.ts'

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
 *
 * An older program goes on working beside a newer one, and may start again, for as long as every migration that it does
 * not know says so (`migration-files.ts`).
 * @throws HelixError `migration_failed` when a file fails, was changed after it was applied, or when the schema is
 *   one that this program is too old for; `storage_unavailable`
 */
export async function migrate({ connection, directory, log, clock }: MigrateRequest): Promise<void> {
  const migrations = await readMigrations(directory ?? OWN_MIGRATIONS)
  const database = openDatabase(connection, {
    connectionsMax: 1,
    acquireTimeoutMs: MIGRATION_TIMEOUT_MS,
    queryTimeoutMs: MIGRATION_TIMEOUT_MS,
    log,
    clock,
  })
  try {
    await upgradeBookkeeping(database)
    for (;;) {
      const applied = await database.transaction((transaction) => applyNext(transaction, migrations, clock))
      if (!applied) return
      log.info('schema migrated', { migration: applied.name })
    }
  } finally {
    await database.close()
  }
}

/**
 * Adds what earlier programs did not keep. By itself and not with the next migration: it locks the table against those
 * who only ask for the version, and a migration may take long.
 */
async function upgradeBookkeeping(database: Database): Promise<void> {
  await database.transaction(async (transaction) => {
    await lock(transaction)
    const lacking = await transaction.query(
      `select from pg_class
       where relname = 'schema_migrations' and pg_table_is_visible(oid) and not exists (
         select from pg_attribute where attrelid = pg_class.oid and attname = 'oldest_program' and not attisdropped)`,
    )
    if (lacking.length === 0) return
    await transaction.query(
      'alter table schema_migrations add column oldest_program integer not null default 0',
    )
  })
}

/** The migration that was applied, or undefined when there is none left. */
async function applyNext(
  transaction: Queries,
  migrations: readonly Migration[],
  clock: Clock,
): Promise<Migration | undefined> {
  await lock(transaction)
  const applied = await readApplied(transaction)
  refuseForeignSchema(applied, migrations)
  const next = migrations[applied.length]
  if (!next) return undefined
  await transaction.query(`
    create table if not exists schema_migrations (
      number integer primary key,
      name text not null,
      checksum text not null,
      applied_at timestamptz not null,
      oldest_program integer not null default 0
    )`)
  try {
    await transaction.query(next.sql)
  } catch (reason) {
    const { code, cause } = HelixError.from(reason)
    if (code === 'storage_unavailable') throw reason
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
    `insert into schema_migrations (number, name, checksum, applied_at, oldest_program)
     values ($1, $2, $3, $4, $5)`,
    [next.number, next.name, next.checksum, new Date(clock.now()), next.oldestProgram],
  )
  return next
}

async function lock(transaction: Queries): Promise<void> {
  await transaction.query(NOTICE_DEATH)
  await transaction.query('select pg_advisory_xact_lock($1)', [ADVISORY_LOCKS.migration])
}

/**
 * Else a server goes on for a program that was killed, and holds the lock until the migration's end. Not every system
 * can look whether a client is still there.
 */
const NOTICE_DEATH = `
  do $$ begin
    perform set_config('client_connection_check_interval', '1s', true);
  exception when others then null;
  end $$`

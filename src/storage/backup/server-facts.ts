import { HelixError } from '../../core/errors.ts'
import type { Manifest } from './manifest.ts'
import type { Session } from './session.ts'

export interface ServerFacts {
  readonly server: Manifest['server']
  readonly timeline: number
  readonly segmentBytes: number
  readonly nowMs: number
}

/** A server that replays the log must allow at least as many of each. */
const LIMITS = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_transactions',
  'max_locks_per_transaction',
]

/** What has to be known of a server to run its backup elsewhere. */
export async function readServerFacts(session: Session): Promise<ServerFacts> {
  const settings = await readSettings(session, [
    ...LIMITS,
    'server_version',
    'server_version_num',
    'wal_segment_size',
  ])
  const [facts] = await session.query<{
    system: string
    timeline: number
    superuser: string
    database: string
    now: number
  }>(
    `select system_identifier::text as system, timeline_id as timeline, current_database() as database,
       (select rolname from pg_roles where oid = 10) as superuser,
       extract(epoch from clock_timestamp())::float8 * 1000 as now
     from pg_control_system(), pg_control_checkpoint()`,
  )
  if (!facts) throw new HelixError('backup_failed', 'PostgreSQL does not tell its identity.')
  return {
    server: {
      version: settings.get('server_version')?.split(' ')[0] ?? '',
      majorVersion: Math.floor(Number(settings.get('server_version_num')) / 10_000),
      systemIdentifier: facts.system,
      superuser: facts.superuser,
      database: facts.database,
      settings: Object.fromEntries(LIMITS.map((name) => [name, settings.get(name) ?? ''])),
    },
    timeline: facts.timeline,
    segmentBytes: Number(settings.get('wal_segment_size')),
    // Rounded up: what is made until then lies before it.
    nowMs: Math.ceil(facts.now),
  }
}

/** In base units, as the server counts them. */
export async function readSettings(
  session: Session,
  names: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const rows = await session.query<{ name: string; setting: string }>(
    'select name, setting from pg_settings where name = any($1)',
    [names],
  )
  return new Map(rows.map(({ name, setting }) => [name, setting]))
}

/** Parts outside the data directory would need a place of their own in every restore. */
export async function refuseTablespaces(session: Session): Promise<void> {
  const found = await session.query<{ name: string }>(
    "select spcname as name from pg_tablespace where spcname not in ('pg_default', 'pg_global')",
  )
  if (found.length === 0) return
  const names = found.map(({ name }) => name).join(', ')
  throw new HelixError('backup_failed', `The database has tablespaces (${names}), which are not backed up.`)
}

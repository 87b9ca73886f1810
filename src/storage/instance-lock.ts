import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { ADVISORY_LOCKS } from './advisory-locks.ts'
import type { PostgresConnection } from './database.ts'
import { isRunning } from './running-process.ts'

export interface InstanceLock {
  /** Of the server, as it says itself. */
  readonly version: string
  /** Resolves when the connection that holds the lock is gone, and mostly the server with it. */
  readonly lost: Promise<void>
  release(): void
}

export interface InstanceLockRequest {
  readonly connection: PostgresConnection
  /** Named in the message to a second instance. */
  readonly directory: string
  readonly log: Logger
  readonly clock: Clock
}

const CONNECT_TIMEOUT_MS = 10_000

/** How long the lock of a process that has just died may linger. */
const DEAD_HOLDER_MS = 5_000

/**
 * Makes this process the only HelixFlow on an embedded database, for as long as its connection lives. The lock is in
 * the server and not in a file, so that it vanishes with its holder however that one ends.
 * @throws HelixError `already_running`, `database_unavailable`
 */
export async function lockInstance(request: InstanceLockRequest): Promise<InstanceLock> {
  const client = new pg.Client({
    ...request.connection,
    port: 5432,
    ssl: false,
    application_name: `helixflow ${process.pid}`,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: CONNECT_TIMEOUT_MS,
  })
  let released = false
  const release = () => {
    released = true
    // Not end(), which waits for an answer: the server may be frozen.
    client.connection.stream.destroy()
  }
  const lost = new Promise<void>((resolve) => client.once('end', resolve))
  client.on('error', (error) => {
    if (!released) request.log.debug('instance lock disturbed', { cause: error.message })
  })
  try {
    await client.connect()
    await acquire(client, request)
    const { rows } = await client.query<{ server_version: string }>('show server_version')
    return { version: rows[0]?.server_version.split(' ')[0] ?? '', lost, release }
  } catch (reason) {
    release()
    if (reason instanceof HelixError) throw reason
    throw new HelixError('database_unavailable', `The embedded database does not answer: ${String(reason)}`, {
      cause: reason,
    })
  }
}

async function acquire(client: pg.Client, { clock, directory }: InstanceLockRequest): Promise<void> {
  const deadlineMs = clock.monotonic() + DEAD_HOLDER_MS
  for (;;) {
    const { rows } = await client.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [
      ADVISORY_LOCKS.instance,
    ])
    if (rows[0]?.locked) return
    const holder = await holderOf(client)
    if (clock.monotonic() > deadlineMs || (holder !== undefined && (await isRunning(holder)))) {
      throw new HelixError(
        'already_running',
        `Another HelixFlow (process ${holder ?? 'unknown'}) uses the database in ${directory}. Stop it first, or give this one another folder with HELIXFLOW_HOME.`,
      )
    }
    await sleep(50)
  }
}

async function holderOf(client: pg.Client): Promise<number | undefined> {
  const { rows } = await client.query<{ application_name: string }>(
    `select application_name from pg_stat_activity join pg_locks using (pid)
     where locktype = 'advisory' and granted and classid = 0 and objid = $1::bigint::oid`,
    [ADVISORY_LOCKS.instance],
  )
  const pid = /^helixflow (\d+)$/.exec(rows[0]?.application_name ?? '')?.[1]
  return pid === undefined ? undefined : Number(pid)
}

import pg from 'pg'
import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { Listener, type ListenRequest } from './listener.ts'
import { PermitQueue } from './permit-queue.ts'
import { leavesConnectionUsable, toStorageError } from './storage-error.ts'

/** A server on a Unix socket: `host` is the folder of the socket. */
export interface PostgresConnection {
  readonly host: string
  readonly database: string
  readonly user: string
  readonly password: string
}

export interface DatabaseOptions {
  /** Connections at most; 20 by default. */
  readonly connectionsMax?: number | undefined
  /** Longest wait for one of them to be free. */
  readonly acquireTimeoutMs: number
  /** Longest wait for a new connection, and again for each statement. */
  readonly queryTimeoutMs: number
  readonly log: Logger
  readonly clock: Clock
}

/** What a function of a table group needs: the whole database, or a transaction in it. */
export interface Queries {
  /**
   * The rows that a statement returns. Values are bound, never part of the text.
   * @throws HelixError `storage_unavailable`, `disk_full`, `internal_error`
   */
  query<Row extends pg.QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<readonly Row[]>
}

export interface TransactionOptions {
  /** A statement without values that goes out together with `begin`, so that it costs no round trip. */
  readonly prelude?: string | undefined
}

export interface Database extends Queries {
  /**
   * All of what `work` does or nothing. Its failure rolls back and is thrown.
   * @throws HelixError as `query`
   */
  transaction<Result>(
    work: (transaction: Queries) => Promise<Result>,
    options?: TransactionOptions,
  ): Promise<Result>
  /**
   * Hears what is sent to a channel, on a connection of its own that is opened again when it is lost. Resolves when
   * it hears. Returns what ends it.
   * @throws HelixError `storage_unavailable` when the first attempt fails
   */
  listen(
    channel: string,
    onMessage: (payload: string) => void,
    onReconnect: () => void,
  ): Promise<() => Promise<void>>
  /** Ends every connection when its statement has ended. */
  close(): Promise<void>
}

/**
 * Connections to one PostgreSQL, opened when they are needed.
 * @param connection a socket and a password, or `postgres://user:password@host:5432/database`
 */
export function openDatabase(connection: PostgresConnection | string, options: DatabaseOptions): Database {
  return new PooledDatabase(connection, options)
}

const CONNECTIONS_MAX_DEFAULT = 20

/** Far above the time that a login takes under load. Callers wait less, and the connection serves the next one. */
const HANDSHAKE_TIMEOUT_MS = 15_000

class PooledDatabase implements Database {
  private readonly pool: pg.Pool
  private readonly permits: PermitQueue
  private readonly settings: pg.ClientConfig
  private readonly listeners = new Set<Listener>()

  constructor(
    connection: PostgresConnection | string,
    private readonly options: DatabaseOptions,
  ) {
    const { queryTimeoutMs, acquireTimeoutMs, log, clock } = options
    const max = options.connectionsMax ?? CONNECTIONS_MAX_DEFAULT
    this.settings = clientSettings(connection, queryTimeoutMs)
    this.permits = new PermitQueue(max, acquireTimeoutMs, clock)
    this.pool = new pg.Pool({ ...this.settings, max, idleTimeoutMillis: 60_000 })
    // A connection that breaks while nobody uses it says so here; unheard, it would end the process.
    this.pool.on('error', (error) => log.warn('idle database connection lost', { cause: error.message }))
    this.pool.on('connect', (client) => {
      // The same for one that breaks in use, between two statements. The next statement fails and tells its caller.
      client.on('error', (error) => log.debug('database connection lost', { cause: error.message }))
    })
  }

  query<Row extends pg.QueryResultRow>(
    sql: string,
    values: readonly unknown[] = [],
  ): Promise<readonly Row[]> {
    return this.withSession((session) => session.query<Row>(sql, values))
  }

  transaction<Result>(
    work: (transaction: Queries) => Promise<Result>,
    { prelude }: TransactionOptions = {},
  ): Promise<Result> {
    return this.withSession(async (session) => {
      await session.query(prelude === undefined ? 'begin' : `begin; ${prelude}`)
      let result: Result
      try {
        result = await work(session)
      } catch (reason) {
        await session.rollback()
        throw reason
      }
      await session.commit()
      return result
    })
  }

  async listen(channel: string, onMessage: (payload: string) => void, onReconnect: () => void) {
    const request: ListenRequest = {
      channel,
      onMessage,
      onReconnect,
      settings: this.settings,
      ...this.options,
    }
    const listener = new Listener(request)
    await listener.start()
    this.listeners.add(listener)
    return async () => {
      this.listeners.delete(listener)
      await listener.stop()
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.listeners].map((listener) => listener.stop()))
    if (!this.pool.ending) await this.pool.end()
  }

  private async withSession<Result>(work: (session: Session) => Promise<Result>): Promise<Result> {
    const release = await this.permits.acquire()
    const client = await this.connect(release)
    const session = new Session(client)
    try {
      return await work(session)
    } finally {
      client.release(session.broken)
      release()
    }
  }

  /** A caller that stops waiting leaves the handshake to go on: the permit comes back with its end. */
  private async connect(release: () => void): Promise<pg.PoolClient> {
    const waited = new AbortController()
    const opening = this.pool.connect()
    const tooLate = delay(this.options.clock, this.options.queryTimeoutMs, waited.signal)
    try {
      return await Promise.race([opening, tooLate.then(() => Promise.reject(handshakeTimeout(this.options)))])
    } catch (reason) {
      opening
        .then(
          (client) => client.release(),
          () => {},
        )
        .finally(release)
      throw toStorageError(reason)
    } finally {
      waited.abort()
    }
  }
}

/** One connection for as long as one caller has it. */
class Session implements Queries {
  /** The connection is out of step with the server, or gone: nobody else may get it. */
  broken = false

  constructor(private readonly client: pg.PoolClient) {}

  async query<Row extends pg.QueryResultRow>(
    sql: string,
    values: readonly unknown[] = [],
  ): Promise<readonly Row[]> {
    return (await this.run<Row>(sql, values)).rows
  }

  async commit(): Promise<void> {
    const { command } = await this.run('commit', [])
    if (command === 'COMMIT') return
    // PostgreSQL answers a commit after a failed statement with a rollback, and without an error.
    throw new HelixError(
      'internal_error',
      'Internal error. The request id identifies it in the server log.',
      {
        internal: 'a transaction went on after a failed statement and was rolled back',
      },
    )
  }

  async rollback(): Promise<void> {
    // The failure that led here is what the caller must hear; a connection that cannot even roll back is closed,
    // which rolls back as well.
    if (!this.broken) await this.run('rollback', []).catch(() => this.broken)
  }

  private async run<Row extends pg.QueryResultRow>(sql: string, values: readonly unknown[]) {
    try {
      return await this.client.query<Row>(sql, [...values])
    } catch (reason) {
      if (!leavesConnectionUsable(reason)) this.broken = true
      throw toStorageError(reason, sql)
    }
  }
}

function handshakeTimeout({ queryTimeoutMs }: DatabaseOptions): HelixError {
  return toStorageError(`no new connection within ${queryTimeoutMs} ms`)
}

function clientSettings(connection: PostgresConnection | string, queryTimeoutMs: number): pg.ClientConfig {
  const address =
    typeof connection === 'string'
      ? { connectionString: connection }
      : { ...connection, port: 5432, ssl: false }
  return {
    ...address,
    application_name: 'helixflow',
    connectionTimeoutMillis: HANDSHAKE_TIMEOUT_MS,
    // The server's own limit is the earlier one, so that the connection survives a slow statement. A frozen server
    // keeps no limits: then ours ends the wait, and the connection with it.
    query_timeout: queryTimeoutMs,
    statement_timeout: Math.ceil(queryTimeoutMs * 0.9),
    idle_in_transaction_session_timeout: 60_000,
    keepAlive: true,
  }
}

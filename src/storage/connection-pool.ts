import pg from 'pg'
import { type Clock, delay } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import { type Metrics, noMetrics } from '../core/metrics.ts'
import { DatabaseMeter } from './database-meter.ts'
import { PermitQueue } from './permit-queue.ts'
import { Session } from './session.ts'
import { toStorageError } from './storage-error.ts'

/** A server on a Unix socket: `host` is the folder of the socket. */
export interface PostgresConnection {
  readonly host: string
  readonly database: string
  readonly user: string
  readonly password: string
}

export interface ConnectionPoolOptions {
  /** Connections at most; 20 by default. */
  readonly connectionsMax?: number | undefined
  /** Connections that are opened before anybody needs them, and again when they are lost; none by default. */
  readonly connectionsMin?: number | undefined
  /** Longest wait for one of them to be free. */
  readonly acquireTimeoutMs: number
  /** Longest wait for a new connection, and again for each statement. */
  readonly queryTimeoutMs: number
  /** Where it counts what callers do; nowhere by default. */
  readonly metrics?: Metrics | undefined
  readonly log: Logger
  readonly clock: Clock
}

export const CONNECTIONS_MAX_DEFAULT = 20

/** Who would have to wait behind more than this for one connection waits in vain. */
const WAITING_PER_CONNECTION = 10

/** Far above the time that a login takes under load. Callers wait less, and the connection serves the next one. */
const HANDSHAKE_TIMEOUT_MS = 15_000

/** How often lost connections are replaced in advance. */
const WARM_UP_INTERVAL_MS = 1_000

/** Connections to one server, each lent to one caller at a time. */
export class ConnectionPool {
  readonly settings: pg.ClientConfig
  private readonly pool: pg.Pool
  private readonly permits: PermitQueue
  private readonly meter: DatabaseMeter
  private cancelWarmUp = () => {}

  constructor(
    connection: PostgresConnection | string,
    private readonly options: ConnectionPoolOptions,
  ) {
    const { queryTimeoutMs, acquireTimeoutMs, log, clock, connectionsMin = 0 } = options
    const max = options.connectionsMax ?? CONNECTIONS_MAX_DEFAULT
    this.meter = new DatabaseMeter(options.metrics ?? noMetrics, clock)
    this.settings = clientSettings(connection, queryTimeoutMs)
    this.permits = new PermitQueue({
      permits: max,
      waitingMax: max * WAITING_PER_CONNECTION,
      timeoutMs: acquireTimeoutMs,
      clock,
    })
    const min = Math.min(connectionsMin, max)
    this.pool = new pg.Pool({ ...this.settings, max, min, idleTimeoutMillis: 60_000 })
    // A connection that breaks while nobody uses it says so here; unheard, it would end the process.
    this.pool.on('error', (error) => log.warn('idle database connection lost', { cause: error.message }))
    this.pool.on('connect', (client) => {
      // The same for one that breaks in use, between two statements. The next statement fails and tells its caller.
      client.on('error', (error) => log.debug('database connection lost', { cause: error.message }))
    })
    if (min > 0) void this.keepWarm(min)
  }

  /** Where the server is, for people: without user and password. */
  get address(): string {
    const { host, port } = new pg.Client(this.settings)
    return `${host}:${port}`
  }

  /** Connections by what they do, and callers that wait for one. */
  get usage(): {
    readonly busy: number
    readonly idle: number
    readonly waiting: number
    readonly max: number
  } {
    const { totalCount, idleCount: idle, options } = this.pool
    return { busy: totalCount - idle, idle, waiting: this.permits.waitingCount, max: options.max }
  }

  /**
   * What `work` makes of a connection that is its own until it ends.
   * @throws HelixError `storage_unavailable` when there is none in time; what `work` throws
   */
  async withSession<Result>(work: (session: Session) => Promise<Result>): Promise<Result> {
    const { client, release } = await this.acquire()
    const session = new Session(client, this.meter)
    try {
      return await work(session)
    } finally {
      client.release(session.broken)
      release()
    }
  }

  /** Ends every connection when its statement has ended. */
  async close(): Promise<void> {
    this.cancelWarmUp()
    if (!this.pool.ending) await this.pool.end()
  }

  private async acquire(): Promise<{ readonly client: pg.PoolClient; readonly release: () => void }> {
    const sinceMs = this.meter.now()
    try {
      const release = await this.permits.acquire()
      return { client: await this.connect(release), release }
    } catch (reason) {
      this.meter.failed(reason)
      throw reason
    } finally {
      this.meter.waited(sinceMs)
    }
  }

  private connect(release: () => void): Promise<pg.PoolClient> {
    // One that is open already is lent at once, without a handshake to watch over.
    return this.pool.idleCount > 0 ? this.pool.connect() : this.open(release)
  }

  /** A caller that stops waiting leaves the handshake to go on: the permit comes back with its end. */
  private async open(release: () => void): Promise<pg.PoolClient> {
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

  /** Opens what is missing below `min`, now and from time to time. */
  private async keepWarm(min: number): Promise<void> {
    const lent: pg.PoolClient[] = []
    const releases: (() => void)[] = []
    // The pool opens another connection only while it has none to lend: so all of the idle ones are taken for the
    // length of a handshake. Permits keep the count; without a free one there is enough use to open them anyway.
    const wanted = this.pool.totalCount < min ? this.pool.idleCount + min - this.pool.totalCount : 0
    for (let taken = 0; taken < wanted; taken++) {
      const release = this.permits.tryAcquire()
      if (release) releases.push(release)
    }
    const opened = await Promise.allSettled(releases.map(() => this.pool.connect()))
    for (const result of opened) if (result.status === 'fulfilled') lent.push(result.value)
    for (const client of lent) client.release()
    for (const release of releases) release()
    if (this.pool.ending) return
    this.cancelWarmUp = this.options.clock.schedule(WARM_UP_INTERVAL_MS, () => void this.keepWarm(min))
  }
}

function handshakeTimeout({ queryTimeoutMs }: ConnectionPoolOptions) {
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

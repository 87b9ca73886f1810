import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import type { Metrics } from '../core/metrics.ts'
import { type Random, seededRandom } from '../core/random.ts'
import { type Attempt, type ConflictKind, ConflictRetry } from './conflict-retry.ts'
import { ConnectionPool, type ConnectionPoolOptions, type PostgresConnection } from './connection-pool.ts'
import { Heartbeat } from './heartbeat.ts'
import { Listener, type ListenRequest } from './listener.ts'
import type { LogPosition } from './replica-lag.ts'
import { Replicas } from './replicas.ts'
import type { Queries, Session } from './session.ts'

export type { PostgresConnection } from './connection-pool.ts'
export type { LogPosition } from './replica-lag.ts'
export type { Queries } from './session.ts'

export interface DatabaseOptions extends ConnectionPoolOptions {
  /** Streaming replicas of the server, for reads that say so. */
  readonly replicas?: readonly (PostgresConnection | string)[] | undefined
  /** Spreads retries in time; seeded anew in each process by default. */
  readonly random?: Random | undefined
}

export interface TransactionOptions {
  /** `read committed` by default. */
  readonly isolation?: 'read committed' | 'repeatable read' | 'serializable' | undefined
  /** A statement without values that goes out together with `begin`, so that it costs no round trip. */
  readonly prelude?: string | undefined
}

export interface ReadOptions {
  /** Sees at least what was written up to here, by whatever process. What this process wrote is seen anyway. */
  readonly after?: LogPosition | undefined
}

export interface Database extends Queries {
  /**
   * All of what `work` does or nothing. Its failure rolls back and is thrown. Where the server gives the transaction up
   * for the sake of another one, `work` runs again from the start, up to five times: what it does outside of the
   * database must bear that.
   * @throws HelixError as `query`; `storage_unavailable` also when it loses every time
   */
  transaction<Result>(
    work: (transaction: Queries) => Promise<Result>,
    options?: TransactionOptions,
  ): Promise<Result>
  /**
   * As `query`, for a statement that changes nothing: a replica may answer it, and never without what this process has
   * written before.
   * @throws HelixError as `query`
   */
  read<Row extends pg.QueryResultRow>(
    sql: string,
    values?: readonly unknown[],
    options?: ReadOptions,
  ): Promise<readonly Row[]>
  /**
   * As `transaction`, in one that the server lets change nothing: a replica may serve it. All statements see the same
   * moment.
   * @throws HelixError as `transaction`
   */
  readTransaction<Result>(
    work: (transaction: Queries) => Promise<Result>,
    options?: ReadOptions & Pick<TransactionOptions, 'prelude'>,
  ): Promise<Result>
  /** The place of this process's last write, for `after` in another one. Undefined without replicas. */
  position(): LogPosition | undefined
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

class PooledDatabase implements Database {
  private readonly pool: ConnectionPool
  private readonly replicas: Replicas | undefined
  private readonly retry: ConflictRetry
  private readonly heartbeat: Heartbeat | undefined
  private readonly uncount: () => void
  private readonly listeners = new Set<Listener>()

  constructor(
    connection: PostgresConnection | string,
    private readonly options: DatabaseOptions,
  ) {
    const { replicas = [], clock, log, metrics } = options
    this.pool = new ConnectionPool(connection, options)
    this.replicas = replicas.length > 0 ? new Replicas(connection, replicas, options) : undefined
    // A seed of each process's own: two that draw the same waits would meet again and again.
    const random = options.random ?? seededRandom(randomBytes(4).readUInt32LE())
    this.retry = new ConflictRetry(clock, random, () => metrics?.add('helixflow_db_retries_total', {}))
    this.heartbeat = metrics && new Heartbeat(connection, { metrics, log, clock })
    this.uncount = metrics ? countConnections(this.pool, metrics) : () => {}
  }

  query<Row extends pg.QueryResultRow>(
    sql: string,
    values: readonly unknown[] = [],
  ): Promise<readonly Row[]> {
    return this.write('locking', (session) => session.query<Row>(sql, values))
  }

  transaction<Result>(
    work: (transaction: Queries) => Promise<Result>,
    { isolation = 'read committed', prelude = '' }: TransactionOptions = {},
  ): Promise<Result> {
    const begin = `begin isolation level ${isolation}; ${prelude}`
    const kind = isolation === 'read committed' ? 'locking' : 'optimistic'
    return this.write(kind, (session) => session.transaction(begin, work))
  }

  read<Row extends pg.QueryResultRow>(
    sql: string,
    values: readonly unknown[] = [],
    { after }: ReadOptions = {},
  ): Promise<readonly Row[]> {
    return this.readAnywhere((session) => session.query<Row>(sql, values), after)
  }

  readTransaction<Result>(
    work: (transaction: Queries) => Promise<Result>,
    { after, prelude = '' }: ReadOptions & Pick<TransactionOptions, 'prelude'> = {},
  ): Promise<Result> {
    const begin = `begin isolation level repeatable read read only; ${prelude}`
    return this.readAnywhere((session) => session.transaction(begin, work), after)
  }

  position(): LogPosition | undefined {
    return this.replicas?.position
  }

  async listen(channel: string, onMessage: (payload: string) => void, onReconnect: () => void) {
    const request: ListenRequest = {
      channel,
      onMessage,
      onReconnect,
      settings: this.pool.settings,
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
    this.uncount()
    await Promise.all([...this.listeners].map((listener) => listener.stop()))
    await Promise.all([this.pool.close(), this.replicas?.close(), this.heartbeat?.stop()])
  }

  private write<Result>(kind: ConflictKind, work: (session: Session) => Promise<Result>): Promise<Result> {
    return this.onPrimary(kind, async (session) => {
      try {
        const result = await work(session)
        await this.replicas?.noteWrite(session)
        return result
      } catch (reason) {
        // It may have happened all the same, and only the answer was lost.
        if (session.broken) this.replicas?.noteLostWrite()
        throw reason
      }
    })
  }

  private async readAnywhere<Result>(
    work: (session: Session) => Promise<Result>,
    after: LogPosition | undefined,
  ): Promise<Result> {
    const answered = await this.replicas?.tryRead(work, after)
    return answered ? answered.result : this.onPrimary('locking', work)
  }

  private onPrimary<Result>(
    kind: ConflictKind,
    work: (session: Session) => Promise<Result>,
  ): Promise<Result> {
    return this.retry.run(kind, () =>
      this.pool.withSession(async (session): Promise<Attempt<Result>> => {
        try {
          return { done: true, result: await work(session) }
        } catch (reason) {
          if (session.conflicted) return { done: false, reason }
          throw reason
        }
      }),
    )
  }
}

/** When the metrics are read and not before: the counts lie there anyway. */
function countConnections(pool: ConnectionPool, metrics: Metrics): () => void {
  return metrics.beforeRead(() => {
    const { max, ...states } = pool.usage
    metrics.set('helixflow_db_pool_connections_max', {}, max)
    for (const [state, count] of Object.entries(states))
      metrics.set('helixflow_db_pool_connections', { state }, count)
  })
}

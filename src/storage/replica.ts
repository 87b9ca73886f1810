import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { type Metrics, noMetrics } from '../core/metrics.ts'
import { ConnectionPool, type ConnectionPoolOptions, type PostgresConnection } from './connection-pool.ts'
import { type PrimaryHistory, positionNumber, type ReplicaLag, tooFarBehind } from './replica-lag.ts'
import type { Session } from './session.ts'

/** One replica: its connections, how far it is, and whether it gets reads. */
export class Replica {
  private readonly pool: ConnectionPool
  private readonly probePool: ConnectionPool
  private readonly name: string
  private readonly log: Logger
  private readonly clock: Clock
  private readonly metrics: Metrics
  /**
   * How far it was when that connection asked. Not one number for the server: after a crash a replica may begin again
   * at an earlier place, and none of its old connections outlives that.
   */
  private readonly reached = new WeakMap<object, bigint>()
  /** Undefined: it gets no reads. */
  private lag: ReplicaLag | undefined
  private outBecause: string | undefined = 'not yet asked'

  constructor(
    connection: PostgresConnection | string,
    options: ConnectionPoolOptions,
    probeOptions: ConnectionPoolOptions,
  ) {
    this.log = options.log
    this.clock = options.clock
    this.metrics = options.metrics ?? noMetrics
    // Half of the time, so that what a silent replica took leaves the primary as much as it needs.
    this.pool = new ConnectionPool(connection, {
      ...options,
      queryTimeoutMs: Math.ceil(options.queryTimeoutMs / 2),
    })
    this.probePool = new ConnectionPool(connection, probeOptions)
    this.name = this.pool.address
  }

  /** Between two probes its age grows, and so may end its turn. */
  isUsable(): boolean {
    return this.lag !== undefined && tooFarBehind(this.lag, this.clock.monotonic()) === undefined
  }

  /**
   * What it answered, or undefined when it has not come to that place in the log, or is in trouble.
   * @throws what `read` throws where the replica is not to blame
   */
  async tryRead<Result>(
    read: (session: Session) => Promise<Result>,
    needed: bigint,
  ): Promise<{ readonly result: Result } | undefined> {
    let session: Session | undefined
    try {
      return await this.pool.withSession(async (own) => {
        session = own
        return (await this.hasReached(own, needed)) ? { result: await read(own) } : undefined
      })
    } catch (reason) {
      // What arrives from the primary goes before a read that stands in its way.
      if (session?.conflicted) return undefined
      if (session && !session.broken) throw reason
      const { cause, message } = HelixError.from(reason)
      // Without a cause all of its connections were busy, which is no reason to ask it no more.
      if (cause !== undefined) this.leave(message)
      return undefined
    }
  }

  /** Finds out how far it is, and so whether it gets reads. */
  async probe(history: PrimaryHistory): Promise<void> {
    try {
      const replayed = await this.probePool.withSession(replayedPosition)
      const { newest } = history
      this.metrics.set('helixflow_db_replica_up', { replica: this.name }, 1)
      if (replayed === undefined || newest === undefined) {
        this.metrics.drop('helixflow_db_replica_lag_bytes', { replica: this.name })
        return this.leave('it is not known how far it is')
      }
      const bytes = newest > replayed ? newest - replayed : 0n
      this.metrics.set('helixflow_db_replica_lag_bytes', { replica: this.name }, Number(bytes))
      const lag = { bytes, completeUntilMs: history.completeUntilMs(replayed) }
      const reason = tooFarBehind(lag, this.clock.monotonic())
      if (reason === undefined) this.enter(lag)
      else this.leave(reason)
    } catch (reason) {
      this.metrics.set('helixflow_db_replica_up', { replica: this.name }, 0)
      // What is not known must not look like what was.
      this.metrics.drop('helixflow_db_replica_lag_bytes', { replica: this.name })
      this.leave(HelixError.from(reason).message)
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.pool.close(), this.probePool.close()])
  }

  private async hasReached(session: Session, needed: bigint): Promise<boolean> {
    if ((this.reached.get(session.connection) ?? -1n) >= needed) return true
    const replayed = await replayedPosition(session)
    if (replayed === undefined) return false
    this.reached.set(session.connection, replayed)
    return replayed >= needed
  }

  private enter(lag: ReplicaLag): void {
    this.lag = lag
    if (this.outBecause === undefined) return
    this.outBecause = undefined
    this.log.info('replica gets reads', { replica: this.name })
  }

  private leave(reason: string): void {
    this.lag = undefined
    if (this.outBecause === undefined) {
      this.log.warn('replica gets no reads', { replica: this.name, cause: reason })
    }
    this.outBecause = reason
  }
}

/** Undefined for a server that is no replica (any more), and for one that has not replayed anything yet. */
async function replayedPosition(session: Session): Promise<bigint | undefined> {
  const [row] = await session.query<{ position: string | null }>(
    'select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() end as position',
  )
  return row?.position ? positionNumber(row.position) : undefined
}

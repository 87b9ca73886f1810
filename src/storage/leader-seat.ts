import pg from 'pg'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import { ADVISORY_LOCKS } from './advisory-locks.ts'
import type { PostgresConnection } from './database.ts'
import { toStorageError } from './storage-error.ts'

export interface LeaderSeatRequest {
  readonly connection: PostgresConnection | string
  /** Where this pool is reached. */
  readonly url: string
  readonly clock: Clock
  readonly log: Logger
}

export interface SeatHolder {
  readonly url: string
  readonly epoch: number
}

/** A server that says nothing for so long is as good as none: the lock may be somebody else's by then. */
const ANSWER_TIMEOUT_MS = 1_500

/**
 * The one seat of the pool that leads: an advisory lock of PostgreSQL, held by a connection of its own, so that it
 * becomes free with the process that held it, however that one ends. A holder that stands still keeps its connection;
 * hence it says each second that it is alive, and one that has not for a while is thrown off by ending its connection.
 */
export class LeaderSeat {
  private constructor(
    private readonly client: pg.Client,
    private readonly url: string,
    /** Resolves when the connection is gone, and the seat with it. */
    readonly lost: Promise<void>,
  ) {}

  /** @throws HelixError `storage_unavailable` */
  static async open({ connection, url, log }: LeaderSeatRequest): Promise<LeaderSeat> {
    const address =
      typeof connection === 'string'
        ? { connectionString: connection }
        : { ...connection, port: 5432, ssl: false }
    const client = new pg.Client({
      ...address,
      application_name: 'helixflow pool',
      connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
      query_timeout: ANSWER_TIMEOUT_MS,
      keepAlive: true,
    })
    const lost = new Promise<void>((resolve) => client.once('end', () => resolve()))
    client.on('error', (error) => log.debug('leader seat disturbed', { cause: error.message }))
    const seat = new LeaderSeat(client, url, lost)
    try {
      await client.connect()
      return seat
    } catch (reason) {
      seat.leave()
      throw toStorageError(reason)
    }
  }

  /**
   * The epoch in which this pool leads from now on; undefined while another one does. Never less than the time in minutes:
   * in a database that was made anew, or restored as it was long ago, nodes would refuse what follows a lesser one than
   * they have heard of. Leaders that follow each other count on from it, slower than time goes.
   * @throws HelixError `storage_unavailable`
   */
  async take(): Promise<number | undefined> {
    const [lock] = await this.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [
      ADVISORY_LOCKS.poolLeader,
    ])
    if (!lock?.locked) return undefined
    const [row] = await this.query<{ epoch: string }>(
      `insert into pool_leader (epoch, url, backend_pid, renewed_at)
       values (floor(extract(epoch from clock_timestamp()) / 60)::bigint, $1, pg_backend_pid(), clock_timestamp())
       on conflict (single) do update set epoch = greatest(pool_leader.epoch + 1, excluded.epoch), url = excluded.url,
         backend_pid = excluded.backend_pid, renewed_at = excluded.renewed_at
       returning epoch`,
      [this.url],
    )
    return Number(row?.epoch)
  }

  /** False when another one has the seat by now. @throws HelixError `storage_unavailable` */
  async renew(epoch: number): Promise<boolean> {
    const rows = await this.query(
      'update pool_leader set renewed_at = clock_timestamp() where epoch = $1 returning epoch',
      [epoch],
    )
    return rows.length > 0
  }

  /** Who has the seat, or had it last. @throws HelixError `storage_unavailable` */
  async holder(): Promise<SeatHolder | undefined> {
    const [row] = await this.query<{ url: string; epoch: string }>('select url, epoch from pool_leader')
    return row && { url: row.url, epoch: Number(row.epoch) }
  }

  /**
   * Ends the connection of a holder that has not said for so long that it is alive. Only of one that still holds the
   * lock: whoever took it since may not have said anything yet.
   * @throws HelixError `storage_unavailable`
   */
  async throwOff(silentMs: number): Promise<boolean> {
    const rows = await this.query(
      `select pg_terminate_backend(pid) from pool_leader join pg_locks on pid = backend_pid
       where locktype = 'advisory' and granted and classid = 0 and objid = $1::bigint::oid
         and renewed_at < clock_timestamp() - $2 * interval '1 millisecond'`,
      [ADVISORY_LOCKS.poolLeader, silentMs],
    )
    return rows.length > 0
  }

  /** Gives up the seat, or the wait for it, at once. */
  leave(): void {
    // Not end(), which waits for an answer: the server may be frozen.
    this.client.connection.stream.destroy()
  }

  private async query<Row extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []) {
    try {
      return (await this.client.query<Row>(sql, [...values])).rows
    } catch (reason) {
      throw toStorageError(reason, sql)
    }
  }
}

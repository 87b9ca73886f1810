import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import { ConnectionPool, type PostgresConnection } from './connection-pool.ts'

export interface HeartbeatOptions {
  readonly metrics: Metrics
  readonly log: Logger
  readonly clock: Clock
}

const EVERY_MS = 2_000

/** A frozen server is noticed after this, and the next look. */
const ANSWER_TIMEOUT_MS = 2_000

/** The server looks at every file of the database for it. */
const SIZE_EVERY_MS = 300_000

/**
 * Asks now and then whether the server answers, on a connection of its own: one that callers share is also busy when
 * all is well.
 */
export class Heartbeat {
  private readonly pool: ConnectionPool
  private stopped = false
  private cancel = () => {}
  private sizeDueMs = 0
  private beating: Promise<void>

  constructor(
    connection: PostgresConnection | string,
    private readonly options: HeartbeatOptions,
  ) {
    const { log, clock } = options
    const limits = { acquireTimeoutMs: ANSWER_TIMEOUT_MS, queryTimeoutMs: ANSWER_TIMEOUT_MS }
    this.pool = new ConnectionPool(connection, { connectionsMax: 1, ...limits, log, clock })
    this.beating = this.beat()
  }

  async stop(): Promise<void> {
    this.stopped = true
    this.cancel()
    await this.beating
    await this.pool.close()
  }

  private async beat(): Promise<void> {
    const { metrics, log, clock } = this.options
    try {
      await this.pool.withSession((session) => session.query('select'))
      metrics.set('helixflow_db_up', {}, 1)
      if (clock.monotonic() >= this.sizeDueMs) await this.measure()
    } catch (reason) {
      metrics.set('helixflow_db_up', {}, 0)
      log.debug('the database does not answer', { cause: HelixError.from(reason).message })
    }
    if (this.stopped) return
    this.cancel = clock.schedule(EVERY_MS, () => {
      this.beating = this.beat()
    })
  }

  private async measure(): Promise<void> {
    const { metrics, log, clock } = this.options
    this.sizeDueMs = clock.monotonic() + SIZE_EVERY_MS
    try {
      const [row] = await this.pool.withSession((session) =>
        session.query<{ size: string }>('select pg_database_size(current_database()) as size'),
      )
      if (row) metrics.set('helixflow_db_size_bytes', {}, Number(row.size))
    } catch (reason) {
      log.debug('the database does not say how large it is', { cause: HelixError.from(reason).message })
    }
  }
}

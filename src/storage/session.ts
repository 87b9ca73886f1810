import type pg from 'pg'
import { HelixError } from '../core/errors.ts'
import type { DatabaseMeter } from './database-meter.ts'
import { isConflict, leavesConnectionUsable, toStorageError } from './storage-error.ts'

/** What a function of a table group needs: the whole database, or a transaction in it. */
export interface Queries {
  /**
   * The rows that a statement returns. Values are bound, never part of the text.
   * @throws HelixError `storage_unavailable`, `internal_error`
   */
  query<Row extends pg.QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<readonly Row[]>
}

/** One connection for as long as one caller has it. */
export class Session implements Queries {
  /** The connection is out of step with the server, or gone: nobody else may get it. */
  broken = false
  /** The server gave up a statement in favour of somebody else's: the same work may succeed another time. */
  conflicted = false

  constructor(
    private readonly client: pg.PoolClient,
    private readonly meter: DatabaseMeter,
  ) {}

  /** The same object for everybody who gets this connection, one after the other. */
  get connection(): object {
    return this.client
  }

  async query<Row extends pg.QueryResultRow>(
    sql: string,
    values: readonly unknown[] = [],
  ): Promise<readonly Row[]> {
    return (await this.run<Row>(sql, values)).rows
  }

  /**
   * All of what `work` does or nothing.
   * @param begin may hold more statements than that one; where one of them fails, nothing stays open
   */
  async transaction<Result>(begin: string, work: (transaction: Queries) => Promise<Result>): Promise<Result> {
    let result: Result
    try {
      await this.query(begin)
      result = await work(this)
    } catch (reason) {
      await this.rollback()
      throw reason
    }
    await this.commit()
    return result
  }

  private async commit(): Promise<void> {
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

  private async rollback(): Promise<void> {
    // The failure that led here is what the caller must hear; a connection that cannot even roll back is closed,
    // which rolls back as well.
    if (!this.broken) await this.run('rollback', []).catch(() => this.broken)
  }

  private async run<Row extends pg.QueryResultRow>(sql: string, values: readonly unknown[]) {
    const sinceMs = this.meter.now()
    try {
      return await this.client.query<Row>(sql, [...values])
    } catch (reason) {
      this.meter.failed(reason)
      if (!leavesConnectionUsable(reason)) this.broken = true
      if (isConflict(reason)) this.conflicted = true
      throw toStorageError(reason, sql)
    } finally {
      this.meter.ended(sql, sinceMs)
    }
  }
}

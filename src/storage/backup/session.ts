import pg from 'pg'
import type { PostgresConnection } from '../database.ts'
import { toStorageError } from '../storage-error.ts'

/** One connection without limits on time: a copy or a count of everything takes as long as it takes. */
export interface Session {
  /** @throws HelixError as a database does */
  query<Row extends pg.QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<readonly Row[]>
  close(): Promise<void>
}

export interface SessionAddress extends PostgresConnection {
  readonly port?: number | undefined
}

const CONNECT_TIMEOUT_MS = 10_000

/** How values look as text, whatever the roles or the server were told: digests are made of it. */
const TEXT_FORM = ['DateStyle=ISO,YMD', 'TimeZone=UTC', 'extra_float_digits=3', 'bytea_output=hex']

/** @throws HelixError `storage_unavailable` */
export async function openSession(address: SessionAddress | string): Promise<Session> {
  const client = new pg.Client({
    ...(typeof address === 'string' ? { connectionString: address } : { port: 5432, ...address, ssl: false }),
    application_name: 'helixflow backup',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    options: TEXT_FORM.map((setting) => `-c ${setting}`).join(' '),
    keepAlive: true,
  })
  // The next statement tells its caller.
  client.on('error', () => {})
  try {
    await client.connect()
  } catch (reason) {
    throw toStorageError(reason)
  }
  return {
    query: async <Row extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []) => {
      try {
        return (await client.query<Row>(sql, [...values])).rows
      } catch (reason) {
        throw toStorageError(reason, sql)
      }
    },
    close: () => client.end(),
  }
}

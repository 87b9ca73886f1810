import pg from 'pg'
import type { Logger } from '../core/log.ts'
import type { PostgresConnection } from './database.ts'
import { ensureExtensions } from './extensions.ts'
import { toStorageError } from './storage-error.ts'

/** The role that the program works as: it owns its tables and is no superuser, for whom row-level security is air. */
export const APPLICATION_ROLE = 'helixflow_app'

const TIMEOUT_MS = 60_000

/**
 * Makes the role on an embedded server where it is missing, with the superuser's password, and gives it what was made
 * before there was one.
 * @throws HelixError `storage_unavailable`
 */
export async function ensureApplicationRole(superuser: PostgresConnection, log: Logger): Promise<void> {
  const client = new pg.Client({
    ...superuser,
    port: 5432,
    ssl: false,
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: TIMEOUT_MS,
  })
  client.on('error', () => client.connection.stream.destroy())
  try {
    await client.connect()
    const { rows } = await client.query('select from pg_roles where rolname = $1', [APPLICATION_ROLE])
    const password = client.escapeLiteral(superuser.password)
    // The password again each time: a restored database still has the one of when it was backed up.
    await client.query(
      rows.length === 0 ? makeRole(password) : `alter role ${APPLICATION_ROLE} password ${password}`,
    )
    // One of them only a superuser may create.
    await ensureExtensions(
      { query: async (sql, values = []) => (await client.query(sql, [...values])).rows },
      log,
    )
  } catch (reason) {
    throw toStorageError(reason)
  } finally {
    client.connection.stream.destroy()
  }
}

/** One text, hence one transaction: a kill in the middle leaves nothing of it. */
function makeRole(password: string): string {
  return `
    create role ${APPLICATION_ROLE} login nosuperuser nocreatedb nocreaterole password ${password};
    grant pg_monitor to ${APPLICATION_ROLE};
    alter database postgres owner to ${APPLICATION_ROLE};
    alter schema public owner to ${APPLICATION_ROLE};
    do $$
    declare
      made_before text;
    begin
      for made_before in select format('%I', tablename) from pg_tables where schemaname = 'public' loop
        execute 'alter table ' || made_before || ' owner to ${APPLICATION_ROLE}';
      end loop;
    end $$;`
}

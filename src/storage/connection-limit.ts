import { HelixError } from '../core/errors.ts'
import type { Queries } from './session.ts'

/** Beside the pool of each gateway: listeners, probes, a migration, an administrator, a backup, the monitor. */
const OTHERS_PER_GATEWAY = 8

/**
 * Refuses pools that are together larger than what the server has to give, at the start and not under the first load.
 * @throws HelixError `invalid_configuration`, `storage_unavailable`
 */
export async function checkConnectionLimit(
  database: Queries,
  { connectionsMax, gateways }: { connectionsMax: number; gateways: number },
): Promise<void> {
  const { total, reserved } = await readLimit(database)
  const available = total - reserved
  const needed = gateways * (connectionsMax + OTHERS_PER_GATEWAY)
  if (needed <= available) return
  const affordable = Math.floor(available / gateways) - OTHERS_PER_GATEWAY
  const waysOut = [
    ...(affordable > 0 ? [`set database.connectionsMax to ${affordable} or less`] : []),
    `raise max_connections of the server to ${needed + reserved} or more`,
    ...(gateways > 1 ? ['run fewer gateways (database.gateways)'] : []),
  ]
  throw new HelixError(
    'invalid_configuration',
    `${gateways} x ${connectionsMax} database connections, and ${OTHERS_PER_GATEWAY} more for each gateway's other work, are ${needed}. The server gives ${available} (max_connections ${total}, of which ${reserved} are reserved). Ways out: ${waysOut.join('; ')}.`,
  )
}

/** The smallest of what the server, the database and the role allow. */
async function readLimit(database: Queries): Promise<{ total: number; reserved: number }> {
  const [row] = await database.query<{ server: number; reserved: number; own: number | null }>(
    `select current_setting('max_connections')::integer as server,
       current_setting('superuser_reserved_connections')::integer
         + coalesce(current_setting('reserved_connections', true)::integer, 0) as reserved,
       (select min(allowed) from (
          select datconnlimit as allowed from pg_database where datname = current_database()
          union all select rolconnlimit from pg_roles where rolname = current_user
        ) limits where allowed >= 0) as own`,
  )
  const { server = 0, reserved = 0, own = null } = row ?? {}
  return own !== null && own < server - reserved ? { total: own, reserved: 0 } : { total: server, reserved }
}

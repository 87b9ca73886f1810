import { machineMemory } from '../config/machine-memory.ts'
import type { Config } from '../config/schema.ts'
import type { DatabaseAdministration } from '../contracts/database.ts'
import type { Logger } from '../core/log.ts'
import { openDatabase, type PostgresConnection } from '../storage/database.ts'
import { examineDatabase } from '../storage/database-doctor.ts'
import { SHARED_MACHINE_SHARE } from '../storage/memory-settings.ts'
import { migrationState } from '../storage/pending-migrations.ts'
import { slowestStatements } from '../storage/slow-statements.ts'
import { systemClock } from '../system.ts'

const LONG_TRANSACTION_MS = 5 * 60_000
const WAIT_MAX_MS = 5_000
/** Statistics of a large database are not read in the time of a request. */
const QUERY_TIMEOUT_MS = 30_000

export interface RunningAdministration extends DatabaseAdministration {
  stop(): Promise<void>
}

/**
 * Looks into the database on a connection of its own, opened when it is asked: what is wrong with a full pool is not
 * found out through that pool.
 */
export function startDatabaseAdministration(
  connection: PostgresConnection | string,
  config: Config['database'],
  log: Logger,
): RunningAdministration {
  const database = openDatabase(connection, {
    connectionsMax: 1,
    acquireTimeoutMs: WAIT_MAX_MS,
    queryTimeoutMs: QUERY_TIMEOUT_MS,
    log,
    clock: systemClock,
  })
  const ownMemory = config.driver === 'embedded' ? machineMemory() * SHARED_MACHINE_SHARE : undefined
  return {
    doctor: ({ memoryBytes }) =>
      examineDatabase(database, {
        connectionsMax: config.connectionsMax,
        memoryBytes: memoryBytes ?? ownMemory,
        longTransactionMs: LONG_TRANSACTION_MS,
      }),
    queries: (request) => slowestStatements(database, request),
    migrations: () => migrationState(database),
    stop: () => database.close(),
  }
}

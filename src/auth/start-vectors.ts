import type { Clock } from '../core/clock.ts'
import type { Stoppable } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import { CONNECTIONS_MAX_DEFAULT } from '../storage/connection-pool.ts'
import type { Database } from '../storage/database.ts'
import { ensureVectorTable } from '../storage/vector-table.ts'
import { VectorsService } from './vectors.ts'
import { startVectorsUpkeep } from './vectors-upkeep.ts'

export interface StartVectorsOptions {
  readonly connectionsMax?: number | undefined
  readonly clock: Clock
  readonly log: Logger
}

/** Questions of a kind. */
const PARTITION_ENTRIES_MAX = 10_000
/** Questions of 768 numbers take 150 MB. */
const TENANT_ENTRIES_MAX = 50_000

/**
 * The store for vectors, which keeps some where the database can.
 * @throws HelixError `storage_unavailable`
 */
export async function startVectors(
  database: Database,
  { connectionsMax = CONNECTIONS_MAX_DEFAULT, clock, log }: StartVectorsOptions,
): Promise<Stoppable & { readonly vectors: VectorsService }> {
  const support = await ensureVectorTable(database, log)
  const entriesMax = PARTITION_ENTRIES_MAX
  const vectors = new VectorsService({ database, clock, support, connectionsMax, entriesMax })
  if ('without' in support) return { vectors, stop: async () => {} }
  const upkeep = await startVectorsUpkeep({ database, entriesMax: TENANT_ENTRIES_MAX, clock, log })
  return { vectors, stop: () => upkeep.stop() }
}

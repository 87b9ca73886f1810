import type { VectorSupport } from '../contracts/vector-store.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { ADVISORY_LOCKS } from './advisory-locks.ts'
import type { Database, Queries } from './database.ts'
import { findExtensions, VECTOR_EXTENSION } from './extensions.ts'

/** What there is of the place for vectors. */
export interface VectorTableState {
  /** Of pgvector in this database; undefined when it is not created in it. */
  readonly version: string | undefined
  /** The server has its files, so that it can be created. */
  readonly available: boolean
  readonly hasTable: boolean
}

export async function findVectorTable(queries: Queries): Promise<VectorTableState> {
  const [extension] = await findExtensions(queries, [VECTOR_EXTENSION])
  // Where the extension was dropped, the table has lost its column.
  const columns = await queries.query(
    `select from pg_attribute where attrelid = to_regclass('semantic_vectors') and attname = 'direction'
       and not attisdropped`,
  )
  return {
    version: extension?.version,
    available: extension?.available ?? false,
    hasTable: columns.length > 0,
  }
}

/**
 * Makes the table where the database has pgvector. Not a migration: those are the same everywhere and happen once, and
 * the extension may come years later, or never. What lies in it is a cache, so a program that wants another shape makes
 * a table of another name.
 * @throws HelixError `storage_unavailable`
 */
export async function ensureVectorTable(database: Database, log: Logger): Promise<VectorSupport> {
  const { version, available, hasTable } = await findVectorTable(database)
  if (version === undefined) {
    const reason = available ? 'is not created in the database' : "is not on the database's server"
    return { without: `pgvector ${reason}` }
  }
  if (hasTable) return { with: `pgvector ${version}` }
  try {
    await database.transaction(async (transaction) => {
      await transaction.query('select pg_advisory_xact_lock($1)', [ADVISORY_LOCKS.migration])
      if (!(await findVectorTable(transaction)).hasTable) await transaction.query(MAKE_TABLE)
    })
    return { with: `pgvector ${version}` }
  } catch (reason) {
    // A right that is missing and a server that is gone have codes alike; only the first leaves this working.
    await database.query('select 1')
    log.warn('table for vectors refused', { cause: HelixError.from(reason).message })
    return { without: 'the table for vectors could not be made' }
  }
}

/**
 * Unlogged: a crash empties it, which costs a cache little, and the log and backups are spared it. A backup is verified
 * where there may be no pgvector. No replica has it, then.
 *
 * Vectors stay in their rows, up to 2,000 dimensions: in a table of their own beside it each would be looked up again.
 * They are not compressed, for there is nothing in them to compress.
 */
const MAKE_TABLE = `
  drop table if exists semantic_vectors;
  create unlogged table semantic_vectors (
    organisation_id text not null,
    -- Whatever must be equal, as a hash.
    partition text not null,
    -- Of the answer in the cache.
    key text not null,
    -- In the order in which they came.
    number bigint generated always as identity,
    dimensions integer not null,
    -- Of length 1.
    direction vector not null,
    expires_at timestamptz not null,
    primary key (organisation_id, partition, key)
  ) with (toast_tuple_target = 8160);
  alter table semantic_vectors alter column direction set storage external;
  create index semantic_vectors_by_partition on semantic_vectors (organisation_id, partition, number);
  create index semantic_vectors_by_tenant on semantic_vectors (organisation_id, number);
  create index semantic_vectors_by_expiry on semantic_vectors (expires_at);
  alter table semantic_vectors enable row level security;
  alter table semantic_vectors force row level security;
  create policy tenant on semantic_vectors
    using (current_setting('helixflow.organisation', true) in ('*', organisation_id));`

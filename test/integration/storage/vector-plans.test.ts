import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import { acrossOrganisations, inOrganisation, type TenantQueries } from '../../../src/storage/tenancy.ts'
import { ensureVectorTable } from '../../../src/storage/vector-table.ts'
import * as vectors from '../../../src/storage/vectors.ts'
import { systemClock } from '../../../src/system.ts'
import { findPgvector } from '../../support/pgvector.ts'
import { PostgresServer } from '../../support/postgres-server.ts'
import { PlannedQueries } from './planned-queries.ts'

const PLACE = { organisationId: 'org_7', partition: 'partition_7' }
const NOW_MS = Date.UTC(2026, 10, 1)
const direction = Float32Array.from([1, 0, 0])

/** One call of each function that asks the database something, as in query-plans.test.ts. */
const CALLS: Readonly<Record<string, (queries: TenantQueries) => Promise<unknown>>> = {
  nearestVectors: (queries) =>
    vectors.nearestVectors(queries, { ...PLACE, direction, threshold: 0.9, limit: 8 }, NOW_MS),
  putVector: (queries) =>
    vectors.putVector(queries, { ...PLACE, key: 'new', direction, keepMs: 1_000 }, NOW_MS),
  trimPartition: (queries) => vectors.trimPartition(queries, PLACE, 5),
  removeVectors: (queries) => vectors.removeVectors(queries, PLACE, ['key_1', 'key_2']),
  removeExpiredVectors: (queries) => vectors.removeExpiredVectors(queries, Date.UTC(2020, 1, 1)),
  trimTenants: (queries) => vectors.trimTenants(queries, 1_990),
}

const SEED = `
  insert into semantic_vectors (organisation_id, partition, key, dimensions, direction, expires_at)
  select 'org_' || n % 50, 'partition_' || n % 2000, 'key_' || n, 3, '[1,0,0]', '2026-12-01'::timestamptz + n * interval '1 s'
  from generate_series(0, 99999) n`

const pgvector = await findPgvector()
if ('programs' in pgvector)
  describe('pgvector', () => describePlans(() => PostgresServer.start(pgvector.programs)))
else describe.skip(`pgvector (${pgvector.missing})`, () => test('is here', () => {}))

function describePlans(start: () => Promise<PostgresServer>): void {
  let server: PostgresServer
  let database: Database
  beforeAll(async () => {
    server = await start()
    await server.administer('create extension vector')
    const limits = { acquireTimeoutMs: 1_000, queryTimeoutMs: 120_000, log: silentLog, clock: systemClock }
    database = openDatabase(server.url, limits)
    expect(await ensureVectorTable(database, silentLog)).toHaveProperty('with')
    await acrossOrganisations(database, (queries) => queries.query(SEED))
    await database.query('vacuum (analyze) semantic_vectors')
  })
  afterAll(async () => {
    await database?.close()
    await server?.stop()
  })

  const undone = new Error('undone')
  async function examine(call: (queries: TenantQueries) => Promise<unknown>): Promise<PlannedQueries> {
    let planned = new PlannedQueries(database, new Set())
    const work = acrossOrganisations(database, async (transaction) => {
      planned = new PlannedQueries(transaction, new Set())
      await call(planned as PlannedQueries & TenantQueries)
      throw undone
    })
    await expect(work).rejects.toBe(undone)
    return planned
  }

  test.each(Object.entries(CALLS))('%s finds its rows by an index', async (_name, call) => {
    const { recorded, scans } = await examine(call)
    expect(recorded.length).toBeGreaterThan(0)
    expect(scans).toEqual([])
  })

  test('every function that asks the database is examined', () => {
    expect(Object.keys(vectors).filter((name) => !(name in CALLS))).toEqual([])
  })

  test('no distance is computed to vectors of another partition or length: it would be an error', async () => {
    const other = { ...PLACE, key: 'wide', direction: Float32Array.from([0, 1, 0, 0]), keepMs: 10_000 }
    await inOrganisation(database, PLACE.organisationId, async (queries) => {
      await vectors.putVector(queries, other, NOW_MS)
      await vectors.putVector(queries, { ...other, partition: 'wide' }, NOW_MS)
      const query = { ...PLACE, direction, threshold: -1, limit: 64 }
      const near = await vectors.nearestVectors(queries, query, NOW_MS)
      expect(new Set(near.map(({ similarity }) => similarity))).toEqual(new Set([1]))
      expect(near).toHaveLength(50)
    })
    const compare = "select direction <=> '[1,0,0]' from semantic_vectors where partition = 'wide'"
    const failing = inOrganisation(database, PLACE.organisationId, (queries) => queries.query(compare))
    await expect(failing).rejects.toThrow(/different vector dimensions/)
  })
}

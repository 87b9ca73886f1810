import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { type Database, type DatabaseOptions, openDatabase } from '../../../src/storage/database.ts'
import { systemClock } from '../../../src/system.ts'
import { MetricValues } from '../../support/metric-values.ts'
import type { PostgresServer } from '../../support/postgres-server.ts'
import { describeDebian } from './servers.ts'

const SOON = { timeout: 10_000, interval: 25 }

/** The primary counts the head of a page of its log before there is anything on it. */
const AT_REST_BYTES = 100

describeDebian('what a database tells of itself', (start) => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await start()
  })
  afterAll(() => server.stop())

  const databases: Database[] = []
  function open(options: Partial<DatabaseOptions> = {}) {
    const metrics = new MetricValues()
    const defaults = { acquireTimeoutMs: 100, queryTimeoutMs: 3_000, log: silentLog, clock: systemClock }
    const database = openDatabase(server.url, { ...defaults, metrics, ...options })
    databases.push(database)
    return { database, metrics }
  }
  afterEach(async () => {
    for (const database of databases.splice(0)) await database.close()
  })

  test('statements are counted by verb and table, never by value, and failures by the server’s code', async () => {
    const { database, metrics } = open()
    await database.query('create table things (id integer primary key)')
    for (const id of [1, 2, 3]) await database.query('insert into things values ($1)', [id])
    await database.transaction((queries) => queries.query('select * from things'))
    await expect(database.query('insert into things values ($1)', [1])).rejects.toThrow()
    const count = (query: string) => metrics.value('helixflow_db_query_seconds', { query })
    expect(['create', 'insert things', 'begin', 'select things', 'commit'].map(count)).toEqual([
      1, 4, 1, 1, 1,
    ])
    expect(metrics.value('helixflow_db_failures_total', { code: '23505' })).toBe(1)
    expect(metrics.value('helixflow_db_acquire_seconds')).toBe(6)
  })

  test('who waits for a connection is seen while they wait, and who waited in vain afterwards', async () => {
    const { database, metrics } = open({ connectionsMax: 2 })
    const state = (name: string) => metrics.value('helixflow_db_pool_connections', { state: name })
    const sleeping = [1, 2].map(() => database.query('select pg_sleep(0.5)'))
    await expect.poll(() => state('busy'), SOON).toBe(2)
    const waiting = Promise.allSettled([1, 2, 3].map(() => database.query('select')))
    expect([state('busy'), state('waiting')]).toEqual([2, 3])
    expect(metrics.value('helixflow_db_pool_connections_max')).toBe(2)
    await waiting
    expect(metrics.value('helixflow_db_failures_total', { code: 'busy' })).toBe(3)
    await Promise.all(sleeping)
    expect([state('busy'), state('idle'), state('waiting')]).toEqual([0, 2, 0])
  })

  test('a transaction that lost and ran again is counted', async () => {
    const { database, metrics } = open({ acquireTimeoutMs: 5_000 })
    await database.query('create table sums (id integer primary key, total integer)')
    await database.query('insert into sums values (1, 0)')
    let attempts = 0
    await database.transaction(
      async (queries) => {
        await queries.query('select total from sums')
        // Somebody else is faster, the first time.
        if (++attempts === 1) await database.query('update sums set total = total + 1')
        await queries.query('update sums set total = total + 1')
      },
      { isolation: 'repeatable read' },
    )
    expect(attempts).toBe(2)
    expect(metrics.value('helixflow_db_retries_total')).toBe(1)
    expect(metrics.value('helixflow_db_failures_total', { code: '40001' })).toBe(1)
  })

  test('a server that froze or was killed is down, and up again without a restart', async () => {
    const { metrics } = open()
    const up = () => metrics.value('helixflow_db_up')
    await expect.poll(up, SOON).toBe(1)
    await expect.poll(() => metrics.value('helixflow_db_size_bytes'), SOON).toBeGreaterThan(1_000_000)
    server.freeze()
    await expect.poll(up, SOON).toBe(0)
    server.thaw()
    await expect.poll(up, SOON).toBe(1)
    await server.kill()
    await expect.poll(up, SOON).toBe(0)
    await server.launch()
    await expect.poll(up, SOON).toBe(1)
  })

  test('a replica says how far behind it is, under a name without credentials, and that it is gone', async () => {
    const replica = await server.addReplica()
    const { database, metrics } = open({ replicas: [replica.url] })
    const labels = { replica: `127.0.0.1:${replica.port}` }
    const lag = () => metrics.value('helixflow_db_replica_lag_bytes', labels)
    await expect.poll(lag, SOON).toBeLessThanOrEqual(AT_REST_BYTES)
    expect(metrics.values('helixflow_db_replica_up', 'replica')).toEqual([labels.replica])
    await replica.administer('select pg_wal_replay_pause()')
    await database.query('create table written (id integer)')
    await expect.poll(lag, SOON).toBeGreaterThan(AT_REST_BYTES)
    await replica.administer('select pg_wal_replay_resume()')
    await expect.poll(lag, SOON).toBeLessThanOrEqual(AT_REST_BYTES)
    await replica.kill()
    await expect.poll(() => metrics.value('helixflow_db_replica_up', labels), SOON).toBe(0)
    expect(lag()).toBeUndefined()
  })
})

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { type Database, type DatabaseOptions, openDatabase } from '../../../src/storage/database.ts'
import { systemClock } from '../../../src/system.ts'
import type { PostgresServer } from '../../support/postgres-server.ts'
import { failure } from './failure.ts'
import { describeDebian } from './servers.ts'

describeDebian('a replica of Debian’s PostgreSQL 15', (start) => {
  let primary: PostgresServer
  let replica: PostgresServer
  beforeAll(async () => {
    primary = await start()
    replica = await primary.addReplica()
    const database = open()
    await database.query('create table api_keys_read (id integer primary key, filler text)')
  })
  afterAll(() => primary.stop())

  const databases: Database[] = []
  function open(options: Partial<DatabaseOptions> = {}): Database {
    const defaults = { acquireTimeoutMs: 1_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }
    const database = openDatabase(primary.url, { ...defaults, ...options })
    databases.push(database)
    return database
  }
  const withReplica = () => open({ replicas: [replica.url] })
  afterEach(async () => {
    await replica.administer('select pg_wal_replay_resume()')
    for (const database of databases.splice(0)) await database.close()
  })

  /** Which of the two answers reads now. */
  async function reader(database: Database): Promise<'replica' | 'primary'> {
    const [row] = await database.read<{ standby: boolean }>('select pg_is_in_recovery() as standby')
    return row?.standby ? 'replica' : 'primary'
  }

  async function inRotation(database: Database): Promise<void> {
    await expect.poll(() => reader(database), { timeout: 10_000, interval: 50 }).toBe('replica')
  }

  const ids = (database: Database, after?: string) =>
    database
      .read<{ id: number }>('select id from api_keys_read order by id', [], { after })
      .then((rows) => rows.map(({ id }) => id))

  const pause = () => replica.administer('select pg_wal_replay_pause()')

  test('answers reads, of single statements and of transactions, and the primary everything else', async () => {
    const database = withReplica()
    await inRotation(database)
    const standby = 'select pg_is_in_recovery() as standby'
    await expect(database.query(standby)).resolves.toEqual([{ standby: false }])
    await expect(
      database.readTransaction((transaction) => transaction.query(standby), {
        prelude: `set local work_mem = '1MB'`,
      }),
    ).resolves.toEqual([{ standby: true }])
  })

  test('paused, never hides a write of the process that reads: 0 of 1,000 reads are stale', async () => {
    const database = withReplica()
    await inRotation(database)
    await pause()
    const expected: number[] = []
    for (let id = 0; id < 100; id++) {
      const insert = 'insert into api_keys_read values ($1)'
      if (id % 2) await database.query(insert, [id])
      else await database.transaction((transaction) => transaction.query(insert, [id]))
      expected.push(id)
      for (const seen of await Promise.all(Array.from({ length: 10 }, () => ids(database)))) {
        expect(seen).toEqual(expected)
      }
    }
    await replica.administer('select pg_wal_replay_resume()')
    await inRotation(database)
    expect(await ids(database)).toEqual(expected)
  })

  test('paused, never hides a write whose position another process was given', async () => {
    const [writer, other] = [withReplica(), withReplica()]
    await Promise.all([inRotation(writer), inRotation(other)])
    await pause()
    await writer.query('insert into api_keys_read values (1000)')
    expect(writer.position()).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/)
    // Without the position the other one reads what the replica has; with it, never too little.
    expect(await reader(other)).toBe('replica')
    expect(await ids(other)).not.toContain(1_000)
    expect(await ids(other, writer.position())).toContain(1_000)
  })

  test('a process that starts later sees everything from before its start', async () => {
    await pause()
    await open().query('insert into api_keys_read values (1001)')
    const late = withReplica()
    for (let round = 0; round < 100; round++) expect(await ids(late)).toContain(1_001)
  })

  test('more than 8 MB behind gets no reads, and some again when it has caught up', async () => {
    const [writer, other] = [withReplica(), withReplica()]
    await inRotation(other)
    await pause()
    expect(await reader(other)).toBe('replica')
    for (let batch = 0; batch < 10; batch++) {
      await writer.query(
        `insert into api_keys_read select 10000 + n, repeat('x', 1000) from generate_series($1::integer, $2) n`,
        [batch * 1_000, batch * 1_000 + 999],
      )
    }
    await expect.poll(() => reader(other), { timeout: 5_000, interval: 20 }).toBe('primary')
    await replica.administer('select pg_wal_replay_resume()')
    await inRotation(other)
    expect(await ids(other, writer.position())).toHaveLength((await ids(writer)).length)
  })

  test('that is gone leaves its reads to the primary, and gets them again when it is back', async () => {
    const database = withReplica()
    await inRotation(database)
    await replica.kill()
    for (let round = 0; round < 50; round++) expect(await reader(database)).toBe('primary')
    await replica.launch()
    await inRotation(database)
  })

  test('a statement that is wrong fails once, with its own reason', async () => {
    const database = withReplica()
    await inRotation(database)
    await expect(database.read('select nonsense')).rejects.toMatchObject({
      code: 'internal_error',
      message: expect.stringContaining('nonsense'),
    })
    expect(
      await failure(database.readTransaction((t) => t.query('delete from api_keys_read'))),
    ).toMatchObject({ code: 'internal_error' })
    expect(await reader(database)).toBe('replica')
  })

  test('a server that is no replica is never read', async () => {
    const database = open({ replicas: [primary.url] })
    await database.query('select 1')
    const sessions = `select count(*)::integer as count from pg_stat_activity
                      where query like 'select case when pg_is_in_recovery()%'`
    // It was asked, and its answer was not good enough.
    await expect.poll(() => database.query(sessions)).toEqual([{ count: 1 }])
    expect(await reader(database)).toBe('primary')
  })
})

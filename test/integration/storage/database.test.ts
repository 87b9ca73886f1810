import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { type Database, type DatabaseOptions, openDatabase } from '../../../src/storage/database.ts'
import { systemClock } from '../../../src/system.ts'
import { failure } from './failure.ts'
import { describeServers, type TestServer } from './servers.ts'

describeServers((start) => {
  let server: TestServer
  beforeAll(async () => {
    server = await start()
  })
  afterAll(() => server.stop())

  const databases: Database[] = []
  function open(options: Partial<DatabaseOptions> = {}): Database {
    const defaults = { acquireTimeoutMs: 1_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }
    const database = openDatabase(server.connection, { ...defaults, ...options })
    databases.push(database)
    return database
  }
  afterEach(async () => {
    for (const database of databases.splice(0)) await database.close()
  })

  async function backendPid(database: Database): Promise<number> {
    const [row] = await database.query<{ pid: number }>('select pg_backend_pid() as pid')
    return row?.pid ?? 0
  }

  describe('a statement', () => {
    test('gets its values bound, whatever they hold', async () => {
      const text = `'); drop table students; -- \\ " \u{1f600}`
      await expect(open().query('select $1::text as text', [text])).resolves.toEqual([{ text }])
    })

    test('that fails is told without its values, and the connection serves on', async () => {
      const database = open({ connectionsMax: 1 })
      const before = await backendPid(database)
      await expect(database.query('select $1::text::integer', ['sensitive'])).rejects.toMatchObject({
        code: 'internal_error',
        publicMessage: expect.not.stringMatching(/select|sensitive/),
        message: expect.stringContaining('select $1::text::integer'),
      })
      expect(await backendPid(database)).toBe(before)
    })

    test('that takes too long ends by the server’s limit, and the connection serves on', async () => {
      const database = open({ connectionsMax: 1, queryTimeoutMs: 300 })
      const before = await backendPid(database)
      expect((await failure(database.query('select pg_sleep(30)'))).code).toBe('storage_unavailable')
      expect(await backendPid(database)).toBe(before)
    })
  })

  describe('the pool', () => {
    test('opens all its connections at once under a short limit on waiting', async () => {
      const database = open({ connectionsMax: 100, acquireTimeoutMs: 1 })
      const all = Array.from({ length: 100 }, () => database.query('select pg_sleep(0.2)'))
      await expect(Promise.all(all)).resolves.toHaveLength(100)
    })

    test('with nothing free refuses after the limit on waiting, and loses no connection by it', async () => {
      const database = open({ connectionsMax: 2, acquireTimeoutMs: 50 })
      const holders = [database.query('select pg_sleep(0.5)'), database.query('select pg_sleep(0.5)')]
      const refused = await Promise.all(Array.from({ length: 20 }, () => failure(database.query('select 1'))))
      for (const { code, tookMs } of refused) {
        expect(code).toBe('storage_unavailable')
        expect(tookMs).toBeGreaterThanOrEqual(49)
        expect(tookMs).toBeLessThan(400)
      }
      await Promise.all(holders)
      await expect(
        Promise.all([1, 2].map(() => database.query('select pg_sleep(0.01)'))),
      ).resolves.toHaveLength(2)
    })

    test('of 200, all in use, refuses 500 more after the limit on waiting, and leaks nothing', async () => {
      const database = open({ connectionsMax: 200, acquireTimeoutMs: 50 })
      let end = () => {}
      const ended = new Promise<void>((resolve) => {
        end = resolve
      })
      let held = 0
      const holders = Array.from({ length: 200 }, () =>
        database.transaction(async (transaction) => {
          await transaction.query('select 1')
          held += 1
          await ended
        }),
      )
      await expect.poll(() => held, { timeout: 20_000 }).toBe(200)
      const refused = await Promise.all(
        Array.from({ length: 500 }, () => failure(database.query('select 1'))),
      )
      for (const { code, tookMs } of refused) {
        expect(code).toBe('storage_unavailable')
        expect(tookMs).toBeGreaterThanOrEqual(49)
        expect(tookMs).toBeLessThan(2_000)
      }
      end()
      await Promise.all(holders)
      const all = Array.from({ length: 200 }, () =>
        database.query<{ pid: number }>('select pg_backend_pid() as pid, pg_sleep(0.3)'),
      )
      expect(new Set((await Promise.all(all)).map(([row]) => row?.pid)).size).toBe(200)
    })

    test('refuses at once who would wait behind more than ten for each connection', async () => {
      const database = open({ connectionsMax: 1, acquireTimeoutMs: 60_000 })
      const waiting = Array.from({ length: 11 }, () => database.query('select pg_sleep(0.1)'))
      await expect(database.query('select 1')).rejects.toMatchObject({
        code: 'storage_unavailable',
        message: expect.stringContaining('10 wait already'),
      })
      await Promise.all(waiting)
      await expect(database.query('select 1')).resolves.toHaveLength(1)
    })

    test('has its connections before anybody asks, and again after they were lost', async () => {
      const other = open({ connectionsMax: 1 })
      const opened = async () => {
        const rows = await other.query<{ pid: number }>(
          `select pid from pg_stat_activity
           where application_name = 'helixflow' and pid <> pg_backend_pid() and backend_type = 'client backend'`,
        )
        return rows.map(({ pid }) => pid)
      }
      await expect.poll(opened).toEqual([])
      open({ connectionsMin: 7 })
      await expect.poll(opened, { timeout: 5_000 }).toHaveLength(7)
      const before = await opened()
      await other.query('select pg_terminate_backend(pid) from unnest($1::integer[]) as pid', [before])
      await expect.poll(opened, { timeout: 10_000 }).toHaveLength(7)
      expect((await opened()).filter((pid) => before.includes(pid))).toEqual([])
    })

    test('outlives the end of its connections', async () => {
      const database = open({ connectionsMax: 3 })
      await Promise.all([1, 2, 3].map(() => database.query('select pg_sleep(0.01)')))
      await open().query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'helixflow' and pid <> pg_backend_pid()`,
      )
      await expect
        .poll(() => failure(database.query('select 1')).then(({ code }) => code))
        .toBe('did not fail')
    })
  })

  describe('a frozen server', () => {
    test('answers nothing, so every statement ends by our own limit; thawed, it serves within a second', async () => {
      const database = open({ connectionsMax: 4, queryTimeoutMs: 300 })
      const pids = await Promise.all([1, 2, 3, 4].map(() => backendPid(database)))
      const frozen = [...new Set(pids), await server.pid()]
      for (const pid of frozen) process.kill(pid, 'SIGSTOP')
      try {
        // The first ones find a connection that hangs, the later ones hang in opening another.
        for (let round = 0; round < 3; round++) {
          const all = await Promise.all([1, 2, 3, 4].map(() => failure(database.query('select 1'))))
          for (const { code, tookMs } of all) {
            expect(code).toBe('storage_unavailable')
            expect(tookMs).toBeLessThan(300 + 1_000 + 200)
          }
        }
      } finally {
        for (const pid of frozen) process.kill(pid, 'SIGCONT')
      }
      await expect
        .poll(() => failure(database.query('select 1')).then(({ code }) => code), {
          timeout: 1_000,
          interval: 20,
        })
        .toBe('did not fail')
    })
  })

  describe('a transaction', () => {
    test('keeps all or nothing', async () => {
      const database = open()
      await database.query('create table counted (number integer)')
      await database.transaction(async (transaction) => {
        await transaction.query('insert into counted values (1)')
        await transaction.query('insert into counted values (2)')
      })
      const failing = database.transaction(async (transaction) => {
        await transaction.query('insert into counted values (3)')
        throw new RangeError('half way')
      })
      await expect(failing).rejects.toThrow('half way')
      await expect(database.query('select number from counted')).resolves.toEqual([
        { number: 1 },
        { number: 2 },
      ])
    })

    test('that went on after a failed statement does not pretend to be committed', async () => {
      const database = open()
      const careless = database.transaction(async (transaction) => {
        await transaction.query('select 1 / 0').catch(() => undefined)
        return 'done'
      })
      await expect(careless).rejects.toMatchObject({ code: 'internal_error' })
    })

    test('whose connection is cut rolls back and says that the database is away', async () => {
      const database = open()
      await database.query('create table cut (number integer)')
      const cut = database.transaction(async (transaction) => {
        await transaction.query('insert into cut values (1)')
        await transaction.query('select pg_terminate_backend(pg_backend_pid())')
      })
      await expect(cut).rejects.toMatchObject({ code: 'storage_unavailable', retryable: true })
      await expect(database.query('select * from cut')).resolves.toEqual([])
    })
  })

  describe('a listener', () => {
    test('hears what is sent, and says when it may have missed something', async () => {
      const database = open()
      const heard: string[] = []
      await database.listen(
        'news',
        (payload) => heard.push(payload),
        () => heard.push('(reconnected)'),
      )
      await database.query('select pg_notify($1, $2)', ['news', 'first'])
      await expect.poll(() => heard).toEqual(['first'])

      await database.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'helixflow listen news'`,
      )
      await expect.poll(() => heard).toEqual(['first', '(reconnected)'])
      await database.query('select pg_notify($1, $2)', ['news', 'second'])
      await expect.poll(() => heard).toEqual(['first', '(reconnected)', 'second'])
    })

    test('that was ended hears nothing more and holds no connection', async () => {
      const database = open()
      const heard: string[] = []
      const end = await database.listen(
        'quiet',
        (payload) => heard.push(payload),
        () => {},
      )
      await end()
      await expect
        .poll(() =>
          database.query(`select from pg_stat_activity where application_name = 'helixflow listen quiet'`),
        )
        .toEqual([])
      await database.query('select pg_notify($1, $2)', ['quiet', 'late'])
      expect(heard).toEqual([])
    })
  })
})

test('without a server every call says that the database is away', async () => {
  const options = { acquireTimeoutMs: 50, queryTimeoutMs: 300, log: silentLog, clock: systemClock }
  for (const address of [
    { host: '/nonexistent', database: 'd', user: 'u', password: 'p' },
    'postgres://u:p@127.0.0.1:1/nothing',
  ]) {
    const nowhere = openDatabase(address, options)
    expect((await failure(nowhere.query('select 1'))).code).toBe('storage_unavailable')
    expect((await failure(nowhere.transaction(async () => 1))).code).toBe('storage_unavailable')
    expect(
      (
        await failure(
          nowhere.listen(
            'x',
            () => {},
            () => {},
          ),
        )
      ).code,
    ).toBe('storage_unavailable')
    await nowhere.close()
  }
})

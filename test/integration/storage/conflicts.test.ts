import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { type Database, openDatabase, type Queries } from '../../../src/storage/database.ts'
import { systemClock } from '../../../src/system.ts'
import { describeServers, type TestServer } from './servers.ts'

describeServers((start) => {
  let server: TestServer
  let database: Database
  beforeAll(async () => {
    server = await start()
    database = openDatabase(server.connection, {
      connectionsMax: 40,
      acquireTimeoutMs: 10_000,
      queryTimeoutMs: 20_000,
      random: seededRandom(52),
      log: silentLog,
      clock: systemClock,
    })
  })
  afterAll(async () => {
    await database.close()
    await server.stop()
  })
  beforeEach(async () => {
    await database.query('drop table if exists purses')
    await database.query('create table purses (id integer primary key, amount integer not null)')
    await database.query('insert into purses values (1, 500), (2, 500)')
  })

  async function amounts(): Promise<number[]> {
    const rows = await database.query<{ amount: number }>('select amount from purses order by id')
    return rows.map(({ amount }) => amount)
  }

  async function amountIn(queries: Queries, id: number): Promise<number> {
    const [row] = await queries.query<{ amount: number }>('select amount from purses where id = $1', [id])
    return row?.amount ?? Number.NaN
  }

  /** Reads, computes here and writes: wrong under every isolation level that does not notice the others. */
  async function move(transaction: Queries, from: number, to: number): Promise<void> {
    const [giver, taker] = [await amountIn(transaction, from), await amountIn(transaction, to)]
    if (giver < 1) return
    await transaction.query('update purses set amount = $2 where id = $1', [from, giver - 1])
    await transaction.query('update purses set amount = $2 where id = $1', [to, taker + 1])
  }

  for (const isolation of ['serializable', 'repeatable read'] as const) {
    test(`32 workers that fight for two rows (${isolation}) lose nothing, and none gives up`, async () => {
      let attempts = 0
      const worker = async (number: number) => {
        for (let round = 0; round < 12; round++) {
          // In both directions, for deadlocks beside the serialisation failures.
          const [from, to] = (number + round) % 2 ? [1, 2] : [2, 1]
          const work = async (transaction: Queries) => {
            attempts += 1
            await move(transaction, from, to)
          }
          await database.transaction(work, { isolation })
        }
      }
      await Promise.all(Array.from({ length: 32 }, (_, number) => worker(number)))
      const [first = 0, second = 0] = await amounts()
      expect(first + second).toBe(1_000)
      expect(attempts).toBeGreaterThan(32 * 12)
    })
  }

  test('of two that wait for each other one is ended by the server, and done again', async () => {
    const met: number[] = []
    let bothHaveOne = () => {}
    const meeting = new Promise<void>((resolve) => {
      bothHaveOne = resolve
    })
    const take = (from: number, to: number) =>
      database.transaction(async (transaction) => {
        await transaction.query('update purses set amount = amount - 1 where id = $1', [from])
        met.push(from)
        if (met.length === 2) bothHaveOne()
        await meeting
        await transaction.query('update purses set amount = amount + 1 where id = $1', [to])
      })
    await Promise.all([take(1, 2), take(2, 1)])
    expect(met).toHaveLength(3)
    expect(await amounts()).toEqual([500, 500])
  })

  test('a transaction that always loses is given up after five retries, and keeps nothing', async () => {
    let attempts = 0
    const losing = database.transaction(
      async (transaction) => {
        attempts += 1
        const amount = await amountIn(transaction, 1)
        await database.query('update purses set amount = amount + 1 where id = 1')
        await transaction.query('update purses set amount = $1 where id = 1', [amount - 100])
      },
      { isolation: 'repeatable read' },
    )
    await expect(losing).rejects.toMatchObject({ code: 'storage_unavailable', retryable: true })
    expect(attempts).toBe(6)
    expect(await amounts()).toEqual([506, 500])
  })

  test('a failure that is no conflict is not tried again', async () => {
    let attempts = 0
    const failing = database.transaction(
      async (transaction) => {
        attempts += 1
        await transaction.query('select 1 / 0')
      },
      { isolation: 'serializable' },
    )
    await expect(failing).rejects.toMatchObject({ code: 'internal_error' })
    expect(attempts).toBe(1)
  })

  test('a prelude that fails leaves no transaction open on the connection', async () => {
    const failing = database.transaction(async () => 1, { prelude: 'select nonsense' })
    await expect(failing).rejects.toMatchObject({ code: 'internal_error' })
    await expect(
      Promise.all(Array.from({ length: 40 }, () => database.query('select 1'))),
    ).resolves.toHaveLength(40)
  })
})

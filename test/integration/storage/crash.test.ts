import { afterAll, beforeAll, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { openDatabase } from '../../../src/storage/database.ts'
import { systemClock } from '../../../src/system.ts'
import { describeServers, type TestServer } from './servers.ts'

describeServers((start) => {
  let server: TestServer
  beforeAll(async () => {
    server = await start()
  })
  afterAll(() => server.stop())

  test('a server killed under load is used again by itself, and no half of an operation was kept', async () => {
    const database = openDatabase(server.connection, {
      acquireTimeoutMs: 1_000,
      queryTimeoutMs: 2_000,
      connectionsMin: 4,
      log: silentLog,
      clock: systemClock,
    })
    await database.query('create table pairs (operation integer not null, half text not null)')
    const kept = new Set<number>()
    const codes = new Set<string>()
    let next = 0
    let working = true
    const worker = async () => {
      while (working) {
        const operation = next++
        const written = database.transaction(async (transaction) => {
          await transaction.query(`insert into pairs values ($1, 'first')`, [operation])
          await transaction.query(`insert into pairs values ($1, 'second')`, [operation])
        })
        await written.then(
          () => kept.add(operation),
          (error) => codes.add(error.code),
        )
      }
    }
    const workers = Array.from({ length: 8 }, worker)
    const more = async (than: number) =>
      expect.poll(() => kept.size, { timeout: 30_000, interval: 10 }).toBeGreaterThan(than)
    await more(100)
    for (let crash = 0; crash < 2; crash++) {
      process.kill(await server.pid(), 'SIGKILL')
      await server.revive()
      await more(kept.size + 100)
    }
    working = false
    await Promise.all(workers)

    expect([...codes]).toEqual(['storage_unavailable'])
    const halves = await database.query<{ operation: number; halves: number }>(
      'select operation, count(*)::integer as halves from pairs group by operation',
    )
    expect(halves.filter((row) => row.halves !== 2)).toEqual([])
    const stored = new Set(halves.map(({ operation }) => operation))
    expect([...kept].filter((operation) => !stored.has(operation))).toEqual([])
    await database.close()
  })
})

import { afterAll, beforeAll, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { checkConnectionLimit } from '../../../src/storage/connection-limit.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import { systemClock } from '../../../src/system.ts'
import { describeServers, type TestServer } from './servers.ts'

// Both servers of these tests allow 250 connections, of which 3 are reserved.
describeServers((start) => {
  let server: TestServer
  let database: Database
  beforeAll(async () => {
    server = await start()
    const options = { acquireTimeoutMs: 1_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }
    database = openDatabase(server.connection, options)
  })
  afterAll(async () => {
    await database.close()
    await server.stop()
  })

  test('pools that fit together start', async () => {
    await checkConnectionLimit(database, { connectionsMax: 200, gateways: 1 })
    await checkConnectionLimit(database, { connectionsMax: 239, gateways: 1 })
    await checkConnectionLimit(database, { connectionsMax: 53, gateways: 4 })
  })

  test('pools that do not fit are refused with both numbers and what to do', async () => {
    await expect(checkConnectionLimit(database, { connectionsMax: 200, gateways: 4 })).rejects.toMatchObject({
      code: 'invalid_configuration',
      message: expect.stringMatching(
        /are 832\. .*gives 247 .*connectionsMax to 53 or less; raise max_connections .* to 835 or more; run fewer/,
      ),
    })
    await expect(checkConnectionLimit(database, { connectionsMax: 240, gateways: 1 })).rejects.toMatchObject({
      code: 'invalid_configuration',
      message: expect.stringContaining('connectionsMax to 239 or less'),
    })
  })

  test('a limit of the database counts before the server’s', async () => {
    const limited = database.transaction(async (transaction) => {
      await transaction.query(`alter database ${await nameOf(database)} connection limit 30`)
      await checkConnectionLimit(transaction, { connectionsMax: 26, gateways: 1 })
    })
    await expect(limited).rejects.toMatchObject({ message: expect.stringContaining('gives 30') })
    await checkConnectionLimit(database, { connectionsMax: 26, gateways: 1 })
  })
})

async function nameOf(database: Database): Promise<string> {
  const [row] = await database.query<{ name: string }>('select current_database() as name')
  return row?.name ?? ''
}

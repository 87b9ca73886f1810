import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { readSchemaVersion } from '../../../src/storage/schema-version.ts'
import { acrossOrganisations } from '../../../src/storage/tenancy.ts'
import { systemClock } from '../../../src/system.ts'
import { Holder } from './database-place.ts'
import { describeServers, type TestServer } from './servers.ts'

describeServers((start) => {
  let root: string
  let server: TestServer
  let database: Database
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'helixflow-migrations-'))
    server = await start()
    const options = { acquireTimeoutMs: 1_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }
    database = openDatabase(server.connection, options)
  })
  afterAll(async () => {
    await database.close()
    await server.stop()
    await rm(root, { recursive: true })
  })
  beforeEach(async () => {
    await database.query('drop schema public cascade')
    await database.query('create schema public')
  })

  let folders = 0
  async function folderWith(files: Record<string, string>): Promise<string> {
    const directory = join(root, `migrations-${folders++}`)
    await mkdir(directory)
    for (const [name, sql] of Object.entries(files)) await writeFile(join(directory, name), sql)
    return directory
  }

  function apply(directory?: string): Promise<void> {
    return migrate({
      connection: server.connection,
      directory: directory === undefined ? undefined : pathToFileURL(`${directory}/`),
      log: silentLog,
      clock: systemClock,
    })
  }

  function version(directory: string) {
    return readSchemaVersion(database, pathToFileURL(`${directory}/`))
  }

  /** Which of these tables are there. */
  async function tablesOf(names: readonly string[]): Promise<string[]> {
    const rows = await database.query<{ tablename: string }>(
      `select tablename from pg_tables where schemaname = 'public' and tablename = any($1)`,
      [names],
    )
    const present = rows.map(({ tablename }) => tablename)
    return names.filter((name) => present.includes(name))
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
    const runner = Holder.run('run-migrations.ts', [JSON.stringify(server.connection), directory])
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

  test('an older program starts and works on a schema that a newer one has expanded', async () => {
    const older = await folderWith({ '0001-a.sql': 'create table a (number integer)' })
    const newer = await folderWith({
      '0001-a.sql': 'create table a (number integer)',
      '0002-b.sql': 'alter table a add column text text',
    })
    await apply(older)
    expect(await version(older)).toEqual({ applied: 1, known: 1, problem: undefined })
    expect(await version(newer)).toMatchObject({ applied: 1, problem: expect.stringContaining('0002-b.sql') })
    await apply(newer)
    await Promise.all([apply(older), apply(newer), apply(older)])
    expect(await version(older)).toEqual({ applied: 2, known: 1, problem: undefined })
    expect(await version(newer)).toEqual({ applied: 2, known: 2, problem: undefined })
    await database.query('insert into a (number) values (1)')
    expect(await applied()).toEqual(['0001-a.sql', '0002-b.sql'])
  })

  test('a migration that takes away refuses the programs that it names, at the start and while they run', async () => {
    const files = {
      '0001-a.sql': 'create table a (number integer, old integer)',
      '0002-b.sql': 'alter table a add column new integer',
      '0003-c.sql': '-- contract: from 0002\nalter table a drop column old',
      '0004-d.sql': 'create table d (number integer)',
    }
    const names = Object.entries(files)
    const program = (known: number) => folderWith(Object.fromEntries(names.slice(0, known)))
    const [first, second, fourth] = await Promise.all([program(1), program(2), program(4)])
    await apply(first)
    await apply(fourth)
    await expect(apply(first)).rejects.toMatchObject({
      code: 'migration_failed',
      message: expect.stringMatching(/newer HelixFlow \(it has 0004-d\.sql,.*0003-c\.sql took away/),
    })
    expect((await version(first)).problem).toContain('0003-c.sql took away')
    await apply(second)
    expect((await version(second)).problem).toBeUndefined()
    expect(await applied()).toEqual(names.map(([name]) => name))
  })

  test.each(['-- contract', '-- Contract: from 0001', '-- contract: from 0002', '-- contract: from 0000'])(
    'a first line like %s is refused before anything is done',
    async (line) => {
      const directory = await folderWith({ '0001-a.sql': `${line}\nselect 1` })
      await expect(apply(directory)).rejects.toMatchObject({
        code: 'migration_failed',
        message: expect.stringContaining('0001-a.sql begins with'),
      })
    },
  )

  test('a database of a program that kept less about its migrations is taken over', async () => {
    const directory = await folderWith({ '0001-a.sql': 'select 1', '0002-b.sql': 'select 2' })
    await apply(directory)
    await database.query('delete from schema_migrations where number = 2')
    await database.query('alter table schema_migrations drop column oldest_program')
    expect((await version(directory)).problem).toContain('lacks 0002-b.sql')
    await Promise.all([apply(directory), apply(directory)])
    expect(await version(directory)).toEqual({ applied: 2, known: 2, problem: undefined })
  })

  test('a kill at any step leaves whole migrations only, and the next start finishes', async () => {
    const gate = 'select pg_advisory_xact_lock(77);'
    const tables = ['first', 'second', 'third']
    const migrationsWith = (stopAt: { number: number; position: number } | undefined) =>
      Object.fromEntries(
        tables.map((table, index) => {
          const steps = [`create table ${table} (number integer);`, `insert into ${table} values (${index});`]
          if (stopAt?.number === index) steps.splice(stopAt.position, 0, gate)
          return [`000${index + 1}-${table}.sql`, steps.join('\n')]
        }),
      )
    const whole = await folderWith(migrationsWith(undefined))
    for (const number of [0, 1, 2]) {
      for (const position of [0, 1, 2]) {
        await database.query('drop schema public cascade')
        await database.query('create schema public')
        const stopping = await folderWith(migrationsWith({ number, position }))
        let killed = () => {}
        const untilKilled = new Promise<void>((resolve) => {
          killed = resolve
        })
        let runner: Holder | undefined
        const holding = database.transaction(async (transaction) => {
          await transaction.query(gate)
          runner = Holder.run('run-migrations.ts', [JSON.stringify(server.connection), stopping])
          await untilKilled
        })
        const waiting = `select from pg_locks where locktype = 'advisory' and objid = 77 and not granted`
        await expect.poll(() => database.query(waiting), { timeout: 20_000 }).toHaveLength(1)
        await runner?.kill()
        // Its connection outlives it for as long as the server waits for the lock.
        await database.query(
          `select pg_terminate_backend(pid) from pg_locks
           where locktype = 'advisory' and objid = 77 and not granted`,
        )
        killed()
        await holding
        expect(await tablesOf(tables)).toEqual(tables.slice(0, number))
        await Promise.all([apply(whole), apply(whole)])
        expect(await tablesOf(tables)).toEqual(tables)
        expect(await applied()).toEqual(Object.keys(migrationsWith(undefined)))
      }
    }
  }, 120_000)

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
})

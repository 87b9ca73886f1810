import { spawn } from 'node:child_process'
import { chmod, chown, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { type Database, openDatabase, type PostgresConnection } from '../../../src/storage/database.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { systemClock } from '../../../src/system.ts'
import { DatabasePlace, Holder, isRoot, postmasterPid, processesWith } from './database-place.ts'

const databases: Database[] = []
function open(connection: PostgresConnection): Database {
  const options = { acquireTimeoutMs: 1_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }
  const database = openDatabase(connection, options)
  databases.push(database)
  return database
}
afterEach(async () => {
  for (const database of databases.splice(0)) await database.close()
})

describe('a running server', () => {
  let place: DatabasePlace
  let postgres: EmbeddedPostgres
  beforeAll(async () => {
    place = await DatabasePlace.make()
    postgres = await place.start()
  })
  afterAll(async () => {
    await postgres.stop()
    await place.remove()
  })

  test('stays off the network, writes through to the disk and has room for a full pool', async () => {
    const rows = await open(postgres.connection).query(
      `select name, setting from pg_settings
       where name in ('listen_addresses', 'fsync', 'max_connections', 'password_encryption', 'data_checksums')
       order by name`,
    )
    expect(rows).toEqual([
      { name: 'data_checksums', setting: 'on' },
      { name: 'fsync', setting: 'on' },
      { name: 'listen_addresses', setting: '' },
      { name: 'max_connections', setting: '250' },
      { name: 'password_encryption', setting: 'scram-sha-256' },
    ])
  })

  test('lets nobody in without the password, which only the caller can read', async () => {
    const stranger = open({ ...postgres.connection, password: 'guessed' })
    await expect(stranger.query('select 1')).rejects.toMatchObject({ code: 'storage_unavailable' })

    const { mode, uid } = await stat(`${place.directory}.password`)
    expect(mode & 0o777).toBe(0o600)
    expect(uid).toBe(process.getuid?.())
    expect((await stat(postgres.connection.host)).mode & 0o777).toBe(0o700)
  })

  test.runIf(isRoot)('runs as another user than root, in the place that was asked for', async () => {
    expect(postgres.directory).toBe(place.directory)
    const { uid } = await stat(`/proc/${await postmasterPid(postgres.directory)}`)
    expect(uid).not.toBe(0)
  })

  test('is refused to a second HelixFlow, in words that name the holder and the folder', async () => {
    await expect(place.start()).rejects.toMatchObject({
      code: 'already_running',
      message: expect.stringMatching(
        new RegExp(`process ${process.pid}.*${place.directory}.*HELIXFLOW_HOME`),
      ),
    })
    // The first one did not notice.
    await expect(open(postgres.connection).query('select 1 as one')).resolves.toEqual([{ one: 1 }])
  })

  test('comes back after kill -9, to the same pool, with everything that was committed', async () => {
    const database = open(postgres.connection)
    await database.query('create table kept (number integer)')
    await database.query('insert into kept values (1), (2)')
    const before = await postmasterPid(postgres.directory)

    process.kill(before, 'SIGKILL')

    await expect
      .poll(() => postmasterPid(postgres.directory).catch(() => before), { timeout: 10_000 })
      .not.toBe(before)
    await expect
      .poll(() => database.query('select number from kept').catch((error) => error.code), { timeout: 10_000 })
      .toEqual([{ number: 1 }, { number: 2 }])
    // The new one is held as the old one was.
    await expect(place.start()).rejects.toMatchObject({ code: 'already_running' })
  })
})

describe('a stopped server', () => {
  let place: DatabasePlace
  beforeAll(async () => {
    place = await DatabasePlace.make()
    await (await place.start()).stop()
  })
  afterAll(() => place.remove())

  test('leaves no process and no socket, and its data opens again', async () => {
    const first = await place.start()
    await open(first.connection).query('create table kept as select 7 as number')
    await databases.pop()?.close()
    await first.stop()
    expect(await processesWith(place.root)).toEqual([])
    await expect(stat(first.connection.host)).rejects.toMatchObject({ code: 'ENOENT' })

    const second = await place.start()
    await expect(open(second.connection).query('select number from kept')).resolves.toEqual([{ number: 7 }])
    await databases.pop()?.close()
    await second.stop()
  })

  test('whose password is gone says so, and makes no new database', async () => {
    await rename(`${place.directory}.password`, join(place.root, 'aside'))
    await expect(place.start()).rejects.toMatchObject({
      code: 'database_unavailable',
      message: expect.stringContaining('postgres.password is gone'),
    })
    await rename(join(place.root, 'aside'), `${place.directory}.password`)
  })

  test('is not started where the path of its socket would be too long for the system', async () => {
    const runtimeDirectory = join(place.root, 'x'.repeat(80))
    const options = { directory: place.directory, runtimeDirectory, log: silentLog, clock: systemClock }
    await expect(startEmbeddedPostgres(options)).rejects.toMatchObject({
      code: 'database_unavailable',
      message: expect.stringContaining('Choose a shorter one'),
    })
  })

  test('is not kept from starting by a file that names another program', async () => {
    const { uid, gid } = await stat(place.directory)
    const other = spawn('sleep', ['60'], { uid, gid, stdio: 'ignore' })
    onTestFinished(() => void other.kill('SIGKILL'))
    await writeFile(join(place.directory, 'postmaster.pid'), `${other.pid}\n${place.directory}\n`)
    const postgres = await place.start()
    expect(other.exitCode ?? other.signalCode).toBeNull()
    await postgres.stop()
  })

  test.runIf(isRoot)('that can no longer be reached is named, not replaced by an empty one', async () => {
    await chmod(place.root, 0o700)
    await expect(place.start()).rejects.toMatchObject({
      code: 'database_unavailable',
      message: expect.stringContaining('chmod o+x'),
    })
    await chmod(place.root, 0o711)
  })
})

describe('the end of the process that started it', () => {
  let place: DatabasePlace
  beforeAll(async () => {
    place = await DatabasePlace.make()
  })
  afterAll(() => place.remove())

  test('by SIGKILL ends the server, and the next start has what was committed', async () => {
    const holder = Holder.start(place)
    const { host = '', directory = '' } = await holder.report()
    const database = open({
      host,
      database: 'postgres',
      user: 'helixflow_app',
      password: (await readFile(`${place.directory}.password`, 'utf8')).trim(),
    })
    await database.query('create table kept as select 7 as number')
    const pid = await postmasterPid(directory)

    await holder.kill()

    // At once, while the old server may still be going down.
    const postgres = await place.start()
    await expect(open(postgres.connection).query('select number from kept')).resolves.toEqual([{ number: 7 }])
    expect(await postmasterPid(directory)).not.toBe(pid)
    await postgres.stop()
    expect(await processesWith(place.root)).toEqual([])
  })

  test('with its guardian leaves a server that the next start takes over and can stop', async () => {
    const holder = Holder.start(place)
    const { directory = '' } = await holder.report()
    const pid = await postmasterPid(directory)
    const guardians = await processesWith(`read -r _; kill -s "$0" -- "$1" INT ${pid} `)
    expect(guardians).toHaveLength(1)
    for (const guardian of guardians) process.kill(guardian, 'SIGKILL')
    await holder.kill()

    const postgres = await place.start()
    expect(await postmasterPid(directory)).toBe(pid)
    await postgres.stop()
    expect(await processesWith(place.root)).toEqual([])
  })

  test('in the middle of making the database leaves nothing that the next start trips over', async () => {
    const fresh = await DatabasePlace.make()
    const holder = Holder.start(fresh)
    const unfinished = async () => (await readdir(fresh.root)).filter((name) => name.includes('.new-'))
    await expect
      .poll(unfinished, { interval: 5, timeout: 20_000 })
      .toContainEqual(expect.stringMatching(/^postgres\.new-/))
    await holder.kill()
    expect(await readdir(fresh.root)).not.toContain('postgres')

    const postgres = await fresh.start()
    await postgres.stop()
    expect(await unfinished()).toEqual([])
    await fresh.remove()
  })
})

test('of several starts in the same instant exactly one wins, on a new folder and on an old one', async () => {
  const place = await DatabasePlace.make()
  for (const round of ['new', 'old']) {
    const holders = [Holder.start(place), Holder.start(place), Holder.start(place)]
    const reports = await Promise.all(holders.map((holder) => holder.report()))
    const winner = holders[reports.findIndex(({ host }) => host !== undefined)]
    const losers = reports.filter(({ host }) => host === undefined)
    expect(losers, round).toHaveLength(2)
    for (const { code, message } of losers) {
      expect(code).toBe('already_running')
      expect(message).toContain(`process ${winner?.pid}`)
    }
    await Promise.all(holders.map((holder) => holder.stop()))
    expect(await processesWith(place.root)).toEqual([])
  }
  await place.remove()
})

describe.runIf(isRoot)('for root', () => {
  test('a folder behind closed doors is replaced by one that the other user can reach', async () => {
    const place = await DatabasePlace.make(0o700)
    const first = await place.start()
    expect(first.directory).toMatch(/^\/var\/lib\/helixflow\/[0-9a-f]{12}\/postgres$/)
    expect(dirname(first.connection.host)).toBe(dirname(first.directory))
    await open(first.connection).query('create table kept as select 7 as number')
    await databases.pop()?.close()
    await first.stop()

    const second = await place.start()
    expect(second.directory).toBe(first.directory)
    await expect(open(second.connection).query('select number from kept')).resolves.toEqual([{ number: 7 }])
    await databases.pop()?.close()
    await second.stop()
    await place.remove()
  })

  test('an ordinary user runs it as themselves, where they said', async () => {
    const place = await DatabasePlace.make(0o700)
    const nobody = 65_534
    await chown(place.root, nobody, nobody)
    const env = { ...process.env, HOME: place.root, TMPDIR: place.root }
    const holder = Holder.start(place, { uid: nobody, gid: nobody, env })
    const { directory } = await holder.report()
    expect(directory).toBe(place.directory)
    expect((await stat(`/proc/${await postmasterPid(place.directory)}`)).uid).toBe(nobody)
    await holder.stop()
    await place.remove()
  })
})

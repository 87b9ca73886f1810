import { chmod, copyFile, open, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BackupPlace } from './backup-place.ts'

let place: BackupPlace
let id: string
let backup: string
let archive: string
beforeAll(async () => {
  place = await BackupPlace.make()
  await place.session.query('create table kept (id integer primary key, text text not null)')
  await place.session.query('create index on kept (text)')
  await place.session.query('insert into kept select n, md5(n::text) from generate_series(1, 5000) n')
  id = await place.create()
  for (let round = 0; round < 3; round++) {
    await place.session.query("update kept set text = text || 'x' where id < 100")
    await place.archiveNow()
  }
  backup = join(place.store.directory, id)
  const [system = ''] = await readdir(join(place.store.directory, 'wal'))
  archive = join(place.store.directory, 'wal', system)
})
afterAll(() => place.remove())

async function flip(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+')
  const piece = Buffer.alloc(1)
  await file.read(piece, 0, 1, at)
  piece[0] = (piece[0] ?? 0) ^ 1
  await file.write(piece, 0, 1, at)
  await file.close()
}

/** Of the log after the backup, oldest first. */
async function laterSegments(): Promise<string[]> {
  const carried = new Set(await readdir(join(backup, 'data', 'pg_wal')))
  const names = (await readdir(archive)).filter((name) => /^[0-9A-F]{24}\.gz$/.test(name)).sort()
  return names.filter((name) => !carried.has(name.slice(0, 24)))
}

test('a whole backup is started, compared row by row and checked to the last page', async () => {
  const report = await place.verify(id)
  expect(report).toMatchObject({
    problems: [],
    walFiles: 3,
    rowsCompared: true,
    amcheck: true,
    tables: [{ name: 'public.kept', rows: '5000' }],
  })
  expect(report.tables).toEqual((await place.digest()).tables)
  expect(report.toMs).toBeGreaterThan(report.fromMs)
  // Nothing of the trial stays.
  expect((await readdir(place.store.directory)).sort()).toEqual([id, 'wal'])
})

describe('is found', () => {
  test('one flipped bit in any file of the backup', async () => {
    const files = ['data/PG_VERSION', 'data/global/pg_control', 'data/backup_label', 'secrets/key-pepper']
    const [table] = await place.session.query<{ path: string }>("select pg_relation_filepath('kept') as path")
    const [segment] = await readdir(join(backup, 'data', 'pg_wal'))
    for (const path of [...files, `data/${table?.path}`, `data/pg_wal/${segment}`]) {
      const { size } = await stat(join(backup, path))
      const at = Math.floor(size / 2)
      await flip(join(backup, path), at)
      const { problems } = await place.verify(id)
      await flip(join(backup, path), at)
      expect(problems.join('\n')).toContain(`file ${path} is damaged`)
    }
  })

  test('one flipped bit in the list of files', async () => {
    const path = join(backup, 'manifest.json')
    const at = (await readFile(path, 'utf8')).indexOf('stopLsn') + 14
    await flip(path, at)
    const verified = await place.verify(id).catch((reason: unknown) => reason)
    await flip(path, at)
    expect(verified).toMatchObject({ code: 'backup_invalid', message: expect.stringContaining('damaged') })
  })

  test('a file that is missing, has grown, or was added', async () => {
    const path = join(backup, 'data', 'PG_VERSION')
    await rename(path, join(backup, 'data', 'MOVED'))
    const { problems } = await place.verify(id)
    await rename(join(backup, 'data', 'MOVED'), path)
    expect(problems).toEqual([
      'file data/MOVED does not belong to the backup',
      'file data/PG_VERSION is missing',
    ])
    await chmod(path, 0o600)
    const content = await readFile(path)
    await writeFile(path, `${content}\n`)
    const grown = await place.verify(id)
    await writeFile(path, content)
    expect(grown.problems).toEqual([
      `file data/PG_VERSION has ${content.length + 1} bytes instead of ${content.length}`,
    ])
  })

  test('one flipped bit in the archived log, and the restore refuses it too', async () => {
    const [, middle = ''] = await laterSegments()
    const path = join(archive, middle)
    const { size } = await stat(path)
    await flip(path, Math.floor(size / 2))
    const { problems } = await place.verify(id)
    const restored = await place
      .restore(id, undefined, join(place.place.root, 'never'))
      .catch((reason: unknown) => reason)
    await flip(path, Math.floor(size / 2))
    expect(problems).toEqual([expect.stringContaining(`WAL file ${middle.slice(0, 24)}: damaged`)])
    expect(restored).toMatchObject({
      code: 'backup_invalid',
      message: expect.stringContaining(middle.slice(0, 24)),
    })
    expect(await readdir(place.place.root)).not.toContain('never')
  })

  test('a missing file in the middle of the log, and the restore says up to when it could go', async () => {
    const [, middle = ''] = await laterSegments()
    await rename(join(archive, middle), join(archive, 'away'))
    const { problems } = await place.verify(id)
    const restored = await place
      .restore(id, undefined, join(place.place.root, 'never'))
      .catch((reason: unknown) => reason)
    await rename(join(archive, 'away'), join(archive, middle))
    expect(problems).toEqual([`WAL file ${middle.slice(0, 24)} is missing in ${archive}`])
    expect(restored).toMatchObject({
      code: 'backup_invalid',
      message: expect.stringContaining('--to-time up to'),
    })
  })

  test('a missing file at the end of the log, by what the server says it has archived', async () => {
    const last = (await laterSegments()).at(-1) ?? ''
    const { lastArchived } = await place.service().status()
    expect(lastArchived).toBe(last.slice(0, 24))
    await rename(join(archive, last), join(archive, 'away'))
    const { problems } = await place.verify(id, lastArchived)
    await rename(join(archive, 'away'), join(archive, last))
    expect(problems).toEqual([`WAL file ${lastArchived} is missing in ${archive}`])
  })

  test('a log file under the name of another', async () => {
    const [first = '', second = ''] = await laterSegments()
    const names = [second, second.replace('.gz', '.sum')]
    const contents = await Promise.all(names.map((name) => readFile(join(archive, name))))
    await copyFile(join(archive, first), join(archive, second))
    await copyFile(join(archive, first.replace('.gz', '.sum')), join(archive, second.replace('.gz', '.sum')))
    const { problems } = await place.verify(id)
    for (const [index, name] of names.entries()) await writeFile(join(archive, name), contents[index] ?? '')
    expect(problems).toEqual([`WAL file ${second.slice(0, 24)}: holds another part of the log`])
  })
})

test('a page that the disk has spoilt under the running database fails the backup that would have kept it', async () => {
  const spoilt = await BackupPlace.make()
  try {
    await spoilt.session.query('create table spoilt as select n from generate_series(1, 1000) n')
    const [table] = await spoilt.session.query<{ path: string }>(
      "select pg_relation_filepath('spoilt') as path",
    )
    await spoilt.stop()
    await flip(join(spoilt.place.directory, table?.path ?? ''), 9_000)
    await spoilt.start()
    await expect(spoilt.create()).rejects.toMatchObject({
      code: 'backup_failed',
      message: expect.stringContaining('invalid page'),
    })
    expect(await spoilt.store.list()).toEqual([])
  } finally {
    await spoilt.remove()
  }
})

import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { noProgress } from '../../../src/core/progress.ts'
import { BackupService } from '../../../src/storage/backup/backup-service.ts'
import { BackupStore } from '../../../src/storage/backup/backup-store.ts'
import { digestContent } from '../../../src/storage/backup/content-digest.ts'
import { ExternalSource } from '../../../src/storage/backup/external-source.ts'
import { restoreBackup } from '../../../src/storage/backup/restore.ts'
import { openSession } from '../../../src/storage/backup/session.ts'
import { verifyBackup } from '../../../src/storage/backup/verify.ts'
import { startEmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { findPostgresBinaries } from '../../../src/storage/postgres-binaries.ts'
import { chooseDataPlace } from '../../../src/storage/postgres-place.ts'
import { runCommand } from '../../../src/storage/run-command.ts'
import { systemClock } from '../../../src/system.ts'
import { BackupPlace, noSignal } from './backup-place.ts'

const found = await findPostgresBinaries({
  given: undefined,
  majorVersion: undefined,
  user: undefined,
  programsDirectory: '/nowhere',
}).catch(() => undefined)
const hasBaseBackup =
  found && (await runCommand(join(found.directory, 'pg_basebackup'), ['--version'])).succeeded

let place: BackupPlace
afterEach(async () => place.remove())

function service(url: string, store: BackupStore): BackupService {
  return new BackupService({
    source: new ExternalSource(url),
    store,
    settings: { enabled: true, scheduleMs: undefined, keep: 7, secrets: true },
    secretFiles: [place.pepper],
    clock: systemClock,
    log: silentLog,
  })
}

test.runIf(hasBaseBackup)(
  'a server that somebody else runs is backed up by its address, verified, and restored beside it to a moment',
  async () => {
    place = await BackupPlace.make()
    // Any server will do: from here on it is known by its address only.
    const { host, user, password } = place.postgres.superuser
    const url = `postgres://${user}:${password}@${encodeURIComponent(host)}/postgres`
    await place.session.query('create table kept as select n from generate_series(1, 1000) n')
    // Its operator archives the log; here that is the archive which the first backup begins.
    await place.create()
    const [system] = await place.session.query<{ id: string }>(
      'select system_identifier::text as id from pg_control_system()',
    )
    const archive = place.store.archiveOf(system?.id ?? '').directory
    const store = new BackupStore(join(place.place.root, 'external'))
    const { id } = await service(url, store).create(undefined, noSignal)
    await place.session.query('insert into kept select n from generate_series(1001, 1100) n')
    const expected = await place.digest()
    await new Promise((resolve) => setTimeout(resolve, 5))
    const moment = Math.ceil(await place.nowMs())
    await new Promise((resolve) => setTimeout(resolve, 5))
    await place.session.query('delete from kept')
    await place.archiveNow()

    const data = await chooseDataPlace({ directory: place.place.directory, log: silentLog })
    const common = { ...data, store, id, binaries: undefined, signal: noSignal, onProgress: noProgress }
    const report = await verifyBackup(common)
    expect(report).toMatchObject({ problems: [], rowsCompared: false, amcheck: true })
    expect(report.tables).toMatchObject([{ name: 'public.kept', rows: '1000' }])

    const target = await chooseDataPlace({ directory: join(place.place.root, 'beside'), log: silentLog })
    const wanted = { ...common, ...target, atMs: moment, inPlace: false, secretFiles: [], nowMs: Date.now() }
    await expect(restoreBackup(wanted)).rejects.toMatchObject({
      code: 'invalid_arguments',
      message: expect.stringContaining('--restore-command'),
    })
    const restoreCommand = `test -e '${archive}/%f.gz' && gzip -d -c '${archive}/%f.gz' > "%p"`
    const restored = await restoreBackup({ ...wanted, restoreCommand })
    expect(restored.lastTransactionAtMs).toBeLessThanOrEqual(moment)

    // Nothing has changed its roles: it opens with the password that its server had.
    const { directory } = restored
    await copyFile(data.passwordFile, `${directory}.password`)
    await place.stop()
    const runtimeDirectory = join(place.place.root, 'run-beside')
    const beside = await startEmbeddedPostgres({
      directory,
      runtimeDirectory,
      log: silentLog,
      clock: systemClock,
    })
    const session = await openSession(beside.superuser)
    try {
      expect(await digestContent(session, noSignal)).toEqual(expected)
    } finally {
      await session.close()
      await beside.stop()
    }
  },
)

test.runIf(hasBaseBackup)('a server that does not allow it says so, and nothing is left', async () => {
  place = await BackupPlace.make()
  const { host } = place.postgres.superuser
  await place.session.query("create role reader login password 'reads'")
  await place.session.query('grant pg_monitor to reader')
  const store = new BackupStore(join(place.place.root, 'external'))
  const url = `postgres://reader:reads@${encodeURIComponent(host)}/postgres`
  await expect(service(url, store).create(undefined, noSignal)).rejects.toMatchObject({
    code: 'backup_failed',
    message: expect.stringMatching(/pg_basebackup failed.*REPLICATION/s),
  })
  expect(await store.list()).toEqual([])
})

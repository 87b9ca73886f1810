import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { silentLog } from '../../../src/core/log.ts'
import { noProgress } from '../../../src/core/progress.ts'
import { BackupService, type BackupSettings } from '../../../src/storage/backup/backup-service.ts'
import { BackupStore, backupDirectory } from '../../../src/storage/backup/backup-store.ts'
import { type ContentDigest, digestContent } from '../../../src/storage/backup/content-digest.ts'
import { EmbeddedSource } from '../../../src/storage/backup/embedded-source.ts'
import { type RestoreReport, restoreBackup } from '../../../src/storage/backup/restore.ts'
import { openSession, type Session } from '../../../src/storage/backup/session.ts'
import { type VerifyReport, verifyBackup } from '../../../src/storage/backup/verify.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { chooseDataPlace } from '../../../src/storage/postgres-place.ts'
import { systemClock } from '../../../src/system.ts'
import { DatabasePlace } from './database-place.ts'

export const noSignal = new AbortController().signal

const SETTINGS: BackupSettings = { enabled: true, scheduleMs: undefined, keep: 7, secrets: true }

/** An embedded database of a test, and its backups. */
export class BackupPlace {
  private running: { postgres: EmbeddedPostgres; session: Session } | undefined

  private constructor(
    readonly place: DatabasePlace,
    /** Undefined: beside the database. */
    private readonly configured: string | undefined,
    private readonly binaries: string | undefined,
  ) {}

  static async make(
    options: { backups?: string | undefined; binaries?: string | undefined } = {},
  ): Promise<BackupPlace> {
    const place = new BackupPlace(
      await DatabasePlace.withDatabase(options.binaries),
      options.backups,
      options.binaries,
    )
    await writeFile(place.pepper, `${'5'.repeat(64)}\n`, { mode: 0o600 })
    await place.start()
    return place
  }

  /** The one of another process, which has stopped. */
  static async at(root: string): Promise<BackupPlace> {
    const place = new BackupPlace(DatabasePlace.at(root), undefined, undefined)
    await place.start()
    return place
  }

  get pepper(): string {
    return join(this.place.root, 'key-pepper')
  }

  get postgres(): EmbeddedPostgres {
    if (!this.running) throw new Error('the database does not run')
    return this.running.postgres
  }

  get session(): Session {
    if (!this.running) throw new Error('the database does not run')
    return this.running.session
  }

  get store(): BackupStore {
    return new BackupStore(backupDirectory(this.place.directory, this.configured))
  }

  async start(): Promise<void> {
    const postgres = await startEmbeddedPostgres({
      directory: this.place.directory,
      runtimeDirectory: this.place.runtimeDirectory,
      binaries: this.binaries,
      backups: { directory: this.configured },
      log: silentLog,
      clock: systemClock,
    })
    this.running = { postgres, session: await openSession(postgres.superuser) }
  }

  async stop(): Promise<void> {
    const running = this.running
    this.running = undefined
    await running?.session.close()
    await running?.postgres.stop()
  }

  async remove(): Promise<void> {
    await this.stop()
    await this.place.remove()
  }

  service(settings: Partial<BackupSettings> = {}, clock = systemClock, log = silentLog): BackupService {
    return new BackupService({
      source: new EmbeddedSource(this.postgres, (systemIdentifier) => this.store.archiveOf(systemIdentifier)),
      store: this.store,
      settings: { ...SETTINGS, ...settings },
      secretFiles: [this.pepper],
      clock,
      log,
    })
  }

  async create(settings: Partial<BackupSettings> = {}): Promise<string> {
    return (await this.service(settings).create(undefined, noSignal)).id
  }

  async verify(id: string, lastArchived?: string): Promise<VerifyReport> {
    return verifyBackup({ ...(await this.recovery()), id, lastArchived })
  }

  async restore(id: string, atMs?: number, directory = this.place.directory): Promise<RestoreReport> {
    const place = await chooseDataPlace({ directory, log: silentLog })
    const inPlace = directory === this.place.directory
    const secretFiles = inPlace ? [this.pepper] : []
    const nowMs = Date.now()
    return restoreBackup({ ...(await this.recovery()), ...place, id, atMs, inPlace, secretFiles, nowMs })
  }

  private async recovery() {
    const { directory } = this.place
    const { user, programsDirectory } = await chooseDataPlace({ directory, log: silentLog })
    const { store, binaries } = this
    return { user, programsDirectory, store, binaries, signal: noSignal, onProgress: noProgress }
  }

  /** Of every row of every table. */
  digest(): Promise<ContentDigest> {
    return digestContent(this.session, noSignal)
  }

  /** The database's own time. */
  async nowMs(): Promise<number> {
    const [row] = await this.session.query<{ now: number }>(
      'select extract(epoch from clock_timestamp())::float8 * 1000 as now',
    )
    return row?.now ?? 0
  }

  /** Has the server archive what it has written so far, as it would by itself after a minute. */
  async archiveNow(): Promise<void> {
    const [row] = await this.session.query<{ name: string }>(
      'select pg_walfile_name(pg_switch_wal()) as name',
    )
    const [system] = await this.session.query<{ id: string }>(
      'select system_identifier::text as id from pg_control_system()',
    )
    const archive = this.store.archiveOf(system?.id ?? '')
    while (!(await archive.has(row?.name ?? ''))) await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

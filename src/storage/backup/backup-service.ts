import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import { type Metrics, noMetrics } from '../../core/metrics.ts'
import type { Progress } from '../../core/progress.ts'
import { ADVISORY_LOCKS } from '../advisory-locks.ts'
import { toBackupError } from './backup-failure.ts'
import type { BackupSource } from './backup-source.ts'
import type { BackupStore } from './backup-store.ts'
import { type BackupView, viewOf } from './backup-view.ts'
import { recordFiles } from './file-records.ts'
import type { Manifest } from './manifest.ts'
import { backUpSecrets } from './secrets.ts'
import type { Session } from './session.ts'

export interface BackupServiceParts {
  readonly source: BackupSource
  readonly store: BackupStore
  readonly settings: BackupSettings
  /** Files without which the data is of no use. */
  readonly secretFiles: readonly string[]
  /** Where it is told how old the newest backup is, and that one failed; nowhere by default. */
  readonly metrics?: Metrics | undefined
  readonly clock: Clock
  readonly log: Logger
}

export interface BackupSettings {
  readonly enabled: boolean
  /** Time from one scheduled backup to the next; undefined: none is scheduled. */
  readonly scheduleMs: number | undefined
  readonly keep: number
  readonly secrets: boolean
}

export interface BackupStatus {
  readonly directory: string
  readonly running: Progress | undefined
  readonly lastSuccessAtMs: number | undefined
  readonly lastFailure: { readonly atMs: number; readonly message: string } | undefined
  /** Undefined while nothing is wrong with the archive, and where it is somebody else's. */
  readonly archiveProblem: string | undefined
  /** By the server's own account; undefined where it has none. */
  readonly lastArchived: string | undefined
}

/** How often it is looked whether a backup is due and whether the log still reaches the archive. */
const TICK_MS = 60_000

/** After a scheduled backup has failed. */
const RETRY_MS = 15 * 60_000

/** Makes backups of the running database: when asked, and on schedule. One at a time, whoever asks. */
export class BackupService {
  private running: Progress | undefined
  private lastFailure: BackupStatus['lastFailure']
  private archiveProblem: string | undefined
  private readonly stopping = new AbortController()
  private work: Promise<unknown> = Promise.resolve()
  private cancelTick = () => {}

  private readonly metrics: Metrics

  constructor(private readonly parts: BackupServiceParts) {
    this.metrics = parts.metrics ?? noMetrics
  }

  start(): void {
    const { enabled, scheduleMs = 0 } = this.parts.settings
    if (!enabled) return
    this.metrics.set('helixflow_backup_expected_interval_seconds', {}, scheduleMs / 1_000)
    this.work = this.tellNewest()
    this.waitForTick()
  }

  private waitForTick(): void {
    this.cancelTick = this.parts.clock.schedule(TICK_MS, () => {
      this.work = this.tick().finally(() => {
        if (!this.stopping.signal.aborted) this.waitForTick()
      })
    })
  }

  /** A backup under way is given up, and leaves nothing. */
  async stop(): Promise<void> {
    this.stopping.abort(new HelixError('server_draining', 'The server is shutting down.'))
    this.cancelTick()
    await this.idle()
  }

  /** Resolves when nothing is under way, and the next look at the clock is waited for. */
  async idle(): Promise<void> {
    await this.work.catch(() => {})
  }

  async status(): Promise<BackupStatus> {
    return {
      directory: this.parts.store.directory,
      running: this.running,
      lastSuccessAtMs: (await this.newest())?.createdAtMs,
      lastFailure: this.lastFailure,
      archiveProblem: this.archiveProblem,
      lastArchived: await this.lastArchived().catch(() => undefined),
    }
  }

  private async newest(): Promise<Manifest | undefined> {
    return (await this.parts.store.list()).find(({ manifest }) => manifest)?.manifest
  }

  private async lastArchived(): Promise<string | undefined> {
    if (this.parts.source.kind !== 'embedded') return undefined
    const session = await this.parts.source.connect()
    try {
      const [row] = await session.query<{ name: string | null }>(
        'select last_archived_wal as name from pg_stat_archiver',
      )
      return row?.name ?? undefined
    } finally {
      await session.close()
    }
  }

  /**
   * @param secrets whether to take along what `secretFiles` names; undefined: as the settings say
   * @throws HelixError `backup_failed`, `disk_full`, `already_running`; the signal's reason
   */
  async create(secrets: boolean | undefined, asker: AbortSignal): Promise<BackupView> {
    const { settings, store } = this.parts
    if (!settings.enabled) {
      throw new HelixError(
        'backup_failed',
        'Backups are switched off: set backup.enabled to true and restart.',
      )
    }
    if (this.running) throw busy()
    this.running = { step: 'starting', done: 0, unit: 'steps' }
    const signal = AbortSignal.any([asker, this.stopping.signal])
    const work = this.make(secrets ?? settings.secrets, signal).finally(() => {
      this.running = undefined
    })
    this.work = Promise.allSettled([this.work, work])
    try {
      return viewOf(await work)
    } catch (reason) {
      signal.throwIfAborted()
      const error = toBackupError(reason, store.directory)
      // Another HelixFlow on the same database makes one.
      if (error.code !== 'already_running') this.metrics.add('helixflow_backup_failures_total', {})
      throw error
    }
  }

  private async make(secrets: boolean, signal: AbortSignal): Promise<Manifest> {
    const { source, store, settings, clock, log } = this.parts
    const startedAtMs = clock.now()
    await store.prepare()
    const session = await source.connect()
    try {
      await lock(session)
      const id = store.makeId(startedAtMs)
      const manifest = await store.make(id, (content) => this.fill(session, { id, content, secrets, signal }))
      log.info('backup made', { id, sizeBytes: manifest.sizeBytes, tookMs: clock.now() - startedAtMs })
      const removed = await store.prune(settings.keep)
      if (removed.length > 0) log.info('old backups removed', { ids: removed })
      this.lastFailure = undefined
      await this.tellNewest()
      return manifest
    } finally {
      await session.close()
    }
  }

  private async fill(
    session: Session,
    { id, content, secrets: included, signal }: FillRequest,
  ): Promise<Manifest> {
    const { source, secretFiles, clock } = this.parts
    const startedAtMs = clock.now()
    const onProgress = (progress: Progress) => {
      this.running = progress
    }
    const { hashed, ...part } = await source.make(session, { id, content, signal, onProgress })
    const { secrets } = await backUpSecrets(secretFiles, content, included)
    onProgress({ step: 'checking what was copied', done: 0, unit: 'steps' })
    const records = await recordFiles(content, hashed, signal)
    return { format: 1, id, source: source.kind, startedAtMs, ...part, secrets, ...records }
  }

  /** To be told that a backup was found to be of no use, by whoever tried it out. */
  foundBad(id: string): void {
    this.metrics.add('helixflow_backup_failures_total', {})
    this.parts.log.error('backup cannot be relied on', { id })
  }

  /** Also of one that somebody else made in the same folder. */
  private async tellNewest(): Promise<void> {
    const newest = await this.newest()
    this.metrics.set(
      'helixflow_backup_last_success_timestamp_seconds',
      {},
      (newest?.createdAtMs ?? 0) / 1_000,
    )
  }

  private async tick(): Promise<void> {
    const { settings, log, clock } = this.parts
    await this.tellNewest()
    await this.watchArchive().catch((reason: unknown) => {
      log.warn('archive of the log not looked at', { cause: String(reason) })
    })
    if (settings.scheduleMs === undefined || this.running || !(await this.isDue(settings.scheduleMs))) return
    try {
      await this.create(undefined, this.stopping.signal)
    } catch (reason) {
      if (this.stopping.signal.aborted) return
      const { code, message, publicMessage } = HelixError.from(reason)
      // Another HelixFlow on the same database was faster, or an operator.
      if (code === 'already_running') return
      this.lastFailure = { atMs: clock.now(), message: publicMessage }
      log.error('scheduled backup failed', { code, reason: message })
    }
  }

  private async isDue(scheduleMs: number): Promise<boolean> {
    const nowMs = this.parts.clock.now()
    if (this.lastFailure && nowMs - this.lastFailure.atMs < Math.min(scheduleMs, RETRY_MS)) return false
    // From start to start, and by our own clock, which the database's need not agree with.
    const startedAtMs = (await this.newest())?.startedAtMs
    return startedAtMs === undefined || nowMs - startedAtMs >= scheduleMs
  }

  /** A log that is not archived piles up on the disk of the database, and is lost with it. */
  private async watchArchive(): Promise<void> {
    if (this.parts.source.kind !== 'embedded') return
    const session = await this.parts.source.connect()
    try {
      const [failing] = await session.query<{ name: string }>(
        `select last_failed_wal as name from pg_stat_archiver
         where last_failed_time > coalesce(last_archived_time, '-infinity')`,
      )
      const problem = failing && `The log file ${failing.name} cannot be archived.`
      if (problem) this.parts.log.error('log not archived', { file: failing.name })
      else if (this.archiveProblem) this.parts.log.info('log archived again')
      this.archiveProblem = problem
    } finally {
      await session.close()
    }
  }
}

interface FillRequest {
  readonly id: string
  readonly content: string
  readonly secrets: boolean
  readonly signal: AbortSignal
}

/** In the database, since several HelixFlow may share one. It ends with the connection. */
async function lock(session: Session): Promise<void> {
  const [row] = await session.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [
    ADVISORY_LOCKS.backup,
  ])
  if (!row?.locked) throw busy()
}

function busy(): HelixError {
  return new HelixError('already_running', 'A backup is being made already.')
}

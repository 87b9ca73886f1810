import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { HelixError } from '../core/errors.ts'
import type { BackupStatus } from '../storage/backup/backup-service.ts'
import { type BackupView, type ListedBackup, listBackups } from '../storage/backup/backup-view.ts'
import { restoreBackup } from '../storage/backup/restore.ts'
import { type VerifyReport, verifyBackup } from '../storage/backup/verify.ts'
import { chooseDataPlace } from '../storage/postgres-place.ts'
import { findBackups, secretFiles } from './backup-place.ts'
import { type CommandContext, type CommonOptions, command, runCommand } from './command.ts'
import type { ControlClient } from './control-client.ts'
import { sizeText, table } from './output.ts'
import { progressBar } from './progress.ts'

type CreateFlags = CommonOptions & { readonly secrets: boolean }
type RestoreFlags = CommonOptions & {
  readonly toTime?: string
  readonly target?: string
  readonly restoreCommand?: string
}

export function backupCommand(): Command {
  const backup = new Command('backup').description('back up the database, check backups and restore them')
  backup.addCommand(
    command('create', 'make a backup of the running database')
      .option('--without-secrets', 'leave out the secret that API keys are checked with', false)
      .action((options: CommonOptions & { readonly withoutSecrets: boolean }) =>
        create({ ...options, secrets: !options.withoutSecrets }),
      ),
  )
  backup.addCommand(command('list', 'list backups and how far each can be taken').action(list))
  backup.addCommand(
    command('verify', 'restore a backup in a folder of its own and check everything')
      .argument('<id>', 'its id, from the list')
      .action(verify),
  )
  backup.addCommand(
    command('restore', 'put a backup in the place of the database; the old one is kept beside it')
      .argument('<id>', 'its id, from the list')
      .option('--to-time <time>', 'as it was then, for example 2027-01-31T12:00:00Z (default: the newest)')
      .option('--target <folder>', 'make a data directory there instead, and leave the database alone')
      .option('--restore-command <command>', 'external server: gets %f from its archive of the log to %p')
      .action(restore),
  )
  return backup
}

function create(options: CreateFlags): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const progress = progressBar()
    const made = control.post<BackupView>('/admin/v1/backups', options.secrets ? {} : { secrets: false })
    const ended = new AbortController()
    const watching = watch(() => control.get<BackupStatus>('/admin/v1/backups'), progress, ended.signal)
    try {
      const backup = await made
      output.result(backup, () => `${backup.id}  ${sizeText(backup.sizeBytes)}`)
      return 0
    } finally {
      ended.abort()
      await watching
      progress.end()
    }
  })
}

const WATCH_MS = 500

async function watch(
  status: () => Promise<BackupStatus>,
  { onProgress }: ReturnType<typeof progressBar>,
  ended: AbortSignal,
): Promise<void> {
  while (!ended.aborted) {
    await sleep(WATCH_MS, undefined, { signal: ended }).catch(() => ended.aborted)
    if (ended.aborted) return
    // Whatever keeps the server from telling will end the backup too, and be told there.
    const { running } = await status().catch(() => ({ running: undefined }))
    if (running && !ended.aborted) onProgress(running)
  }
}

function list(options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ settings, places, log, output, control }) => {
    const { store } = await findBackups(settings, places, log)
    const backups = await listBackups(store)
    output.result(backups, () =>
      backups.length === 0
        ? `There are no backups in ${store.directory}.`
        : table(['ID', 'CREATED', 'RESTORABLE TO', 'SIZE', 'SECRETS', 'STATE'], backups.map(row)),
    )
    const { lastFailure, archiveProblem } = (await statusOf(control)) ?? {}
    if (lastFailure)
      output.note(`The last scheduled backup failed at ${time(lastFailure.atMs)}: ${lastFailure.message}`)
    if (archiveProblem) output.note(archiveProblem)
    return 0
  })
}

function row(backup: ListedBackup): readonly string[] {
  const { id, createdAtMs, restorableToMs, sizeBytes, secrets, problem } = backup
  return [
    id,
    time(createdAtMs),
    time(restorableToMs),
    sizeText(sizeBytes),
    secrets === undefined ? '-' : secrets ? 'yes' : 'no',
    problem ?? 'whole',
  ]
}

function verify(id: string, options: CommonOptions): Promise<void> {
  return runCommand(options, async (context) => {
    const { settings, places, log, output, signal, control } = context
    const { store, place } = await findBackups(settings, places, log)
    const progress = progressBar()
    const lastArchived = (await statusOf(control))?.lastArchived
    try {
      const { onProgress } = progress
      const binaries = databaseBinaries(context)
      const request = { store, id, ...place, binaries, lastArchived, signal, onProgress }
      const report = await verifyBackup(request).catch(async (reason: unknown) => {
        if (HelixError.from(reason).code === 'backup_invalid') await tellOfBad(control, id)
        throw reason
      })
      progress.end()
      if (report.problems.length > 0) await tellOfBad(control, id)
      output.result(report, () => reportText(report))
      return report.problems.length === 0 ? 0 : 1
    } finally {
      progress.end()
    }
  })
}

/** Where a server runs, so that its metrics and alerts say it too; what was found is printed here in any case. */
async function tellOfBad(control: ControlClient, id: string): Promise<void> {
  if (!control.isRunning) return
  await control.post(`/admin/v1/backups/${id}/found-bad`, {}).catch(() => {})
}

function reportText(report: VerifyReport): string {
  const { id, problems, files, walFiles, fromMs, toMs, tables, rowsCompared, amcheck } = report
  if (problems.length > 0)
    return [`${id} cannot be relied on:`, ...problems.map((one) => `  ${one}`)].join('\n')
  const rows = tables.reduce((sum, one) => sum + Number(one.rows), 0)
  return [
    `${id} can be restored, to any moment from ${time(fromMs)} to ${time(toMs)}.`,
    `  ${files} files and ${walFiles} files of the log are undamaged`,
    `  a server has started on it: ${tables.length} tables with ${rows} rows`,
    rowsCompared
      ? '  every row is as it was when the backup was made'
      : '  rows were not compared: writing never paused while the backup was made, or the server is an external one',
    amcheck
      ? '  tables and indexes agree (amcheck)'
      : '  indexes were not compared: amcheck is not installed',
  ].join('\n')
}

function restore(id: string, options: RestoreFlags): Promise<void> {
  return runCommand(options, async (context) => {
    const { settings, places, log, output, signal } = context
    if (options.target === undefined) await refuseInPlace(context)
    const { store, place } = await findBackups(settings, places, log)
    const target =
      options.target === undefined ? place : await chooseDataPlace({ directory: options.target, log })
    const progress = progressBar()
    try {
      const restored = await restoreBackup({
        ...target,
        store,
        id,
        atMs: options.toTime === undefined ? undefined : timeMs(options.toTime),
        binaries: databaseBinaries(context),
        inPlace: options.target === undefined,
        // Those in place belong to the database in place.
        secretFiles: options.target === undefined ? secretFiles(places) : [],
        restoreCommand: options.restoreCommand,
        nowMs: Date.now(),
        signal,
        onProgress: progress.onProgress,
      })
      progress.end()
      output.result(restored, () => {
        const last = restored.lastTransactionAtMs
        const upTo = last === undefined ? 'as the backup was made' : `last transaction ${time(last)}`
        const kept = restored.kept.map((path) => `kept: ${path}`)
        return [`restored ${restored.directory} (${upTo})`, ...kept].join('\n')
      })
      return 0
    } finally {
      progress.end()
    }
  })
}

async function refuseInPlace({ control, settings }: CommandContext): Promise<void> {
  if (settings.config.database.driver !== 'embedded') {
    throw new HelixError(
      'invalid_arguments',
      'The database is an external server, whose data only its operator can replace. --target makes a data directory for it.',
    )
  }
  if ((await statusOf(control)) === undefined) return
  throw new HelixError('already_running', 'HelixFlow is running. Stop it before its database is replaced.')
}

/** Undefined where no server runs; the socket alone says little, for a killed one leaves it behind. */
async function statusOf(control: ControlClient): Promise<BackupStatus | undefined> {
  if (!control.isRunning) return undefined
  try {
    return await control.get<BackupStatus>('/admin/v1/backups')
  } catch (reason) {
    if (reason instanceof HelixError && reason.code === 'not_running') return undefined
    throw reason
  }
}

function databaseBinaries({ settings: { config } }: CommandContext): string | undefined {
  return config.database.driver === 'embedded' ? config.database.binaries : undefined
}

function timeMs(text: string): number {
  const milliseconds = Date.parse(text)
  if (!Number.isNaN(milliseconds)) return milliseconds
  throw new HelixError(
    'invalid_arguments',
    `'${text}' is not a time; write for example 2027-01-31T12:00:00Z.`,
  )
}

function time(milliseconds: number | undefined): string {
  return milliseconds === undefined ? '-' : new Date(milliseconds).toISOString()
}

import { chown, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { HelixError } from '../../core/errors.ts'
import type { OnProgress } from '../../core/progress.ts'
import { swapDirectory } from '../directory-swap.ts'
import { removeLeftovers, temporaryBeside } from '../leftovers.ts'
import { findPostgresBinaries } from '../postgres-binaries.ts'
import { readPostmasterFile } from '../postmaster-file.ts'
import { readOrCreateSecret } from '../secret-file.ts'
import { restoreCommand } from './archive-script.ts'
import type { BackupStore } from './backup-store.ts'
import { systemIdentifierOf } from './data-directory.ts'
import type { Manifest } from './manifest.ts'
import { copyData } from './recovery-copy.ts'
import { type RecoveryHost, RecoveryServer, replayProgress, timelineSetting } from './recovery-server.ts'
import { type RecoveryWindow, recoveryWindow } from './recovery-window.ts'
import { putSecret, secretsToRestore } from './secrets.ts'
import type { Session } from './session.ts'
import { archiveRest, copyTail } from './unarchived-log.ts'
import { checkSegments } from './wal-check.ts'

export interface RestoreRequest extends RecoveryHost {
  readonly store: BackupStore
  readonly id: string
  /** Undefined: everything up to the last transaction that the log holds. */
  readonly atMs: number | undefined
  /** The data directory to put in place. */
  readonly directory: string
  /** Whether that is where the database of the archive lives: then what it had not archived is taken along. */
  readonly inPlace: boolean
  readonly passwordFile: string
  /** Where this installation keeps the secrets that belong to the data. */
  readonly secretFiles: readonly string[]
  /** How to get the log of an external server: a `restore_command`. */
  readonly restoreCommand?: string | undefined
  readonly nowMs: number
  readonly signal: AbortSignal
  readonly onProgress: OnProgress
}

export interface RestoreReport {
  readonly id: string
  readonly directory: string
  /** When the last transaction in it was committed; undefined where none came after the backup. */
  readonly lastTransactionAtMs: number | undefined
  /** What was in the places before. */
  readonly kept: readonly string[]
}

/**
 * Makes a database as it was at a moment, beside the one in place, and swaps them when it is whole. The old one stays.
 * @throws HelixError `already_running`, `backup_not_found`, `backup_invalid`, `invalid_arguments`, `disk_full`,
 * `database_unavailable`; the signal's reason
 */
export async function restoreBackup(request: RestoreRequest): Promise<RestoreReport> {
  const { store, id, directory, signal, nowMs } = request
  await refuseRunning(directory)
  const { path: backup, manifest } = await store.get(id)
  const secrets = await secretsToRestore(backup, manifest.secrets, request.secretFiles)
  refuseMoment(request, manifest)
  const archive = store.archiveOf(manifest.server.systemIdentifier)
  if (await leavesLog(request, manifest)) await archiveRest(directory, archive, request.user)
  const window = await recoveryWindow({ store, manifest, atMs: request.atMs })
  if (manifest.source === 'embedded') await requireLog(request, manifest, window)

  await removeLeftovers(directory)
  const workspace = temporaryBeside(directory)
  const suffix = `.before-restore-${new Date(nowMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`
  try {
    const content = await makeContent(request, workspace, backup, manifest)
    const lastTransactionAtMs = await recover(request, workspace, manifest, window)
    signal.throwIfAborted()
    await refuseRunning(directory)
    const old = await swapDirectory(content, directory, `${directory}${suffix}`)
    const kept = [old, ...(await Promise.all(secrets.map((secret) => putSecret(secret, suffix))))]
    return { id, directory, lastTransactionAtMs, kept: kept.filter((path) => path !== undefined) }
  } finally {
    await rm(workspace, { recursive: true, force: true })
  }
}

async function refuseRunning(directory: string): Promise<void> {
  const running = await readPostmasterFile(directory)
  if (!running) return
  throw new HelixError(
    'already_running',
    `The database in ${directory} is running (process ${running.pid}). Stop HelixFlow first.`,
  )
}

function refuseMoment({ atMs, nowMs, id, restoreCommand: given }: RestoreRequest, manifest: Manifest): void {
  if (atMs === undefined) return
  const { createdAtMs, source } = manifest
  if (atMs < createdAtMs) {
    throw new HelixError(
      'invalid_arguments',
      `Backup ${id} was made at ${isoText(createdAtMs)}, and ${isoText(atMs)} is before that. Choose an earlier backup.`,
    )
  }
  if (atMs > nowMs) throw new HelixError('invalid_arguments', `${isoText(atMs)} is in the future.`)
  if (source === 'external' && given === undefined) {
    throw new HelixError(
      'invalid_arguments',
      'The log of this server is in an archive of its own: --to-time needs --restore-command, which gets a file from there.',
    )
  }
}

/** Whether the database to be replaced is still there, and with it the end of the log that no archive has. */
async function leavesLog(request: RestoreRequest, { source, server }: Manifest): Promise<boolean> {
  if (source !== 'embedded' || !request.inPlace) return false
  return (await systemIdentifierOf(request.directory)) === server.systemIdentifier
}

/** Without it a recovery would end early and look complete. */
async function requireLog(
  request: RestoreRequest,
  manifest: Manifest,
  window: RecoveryWindow,
): Promise<void> {
  const { atMs, signal, onProgress } = request
  const { chain, archive, toMs } = window
  if (chain.missing) {
    throw new HelixError(
      'backup_invalid',
      `The log cannot be followed: ${chain.missing} is missing in ${archive.directory}. What comes before can be restored with --to-time up to ${isoText(toMs)}.`,
    )
  }
  const { segmentBytes } = manifest.wal
  const { systemIdentifier } = manifest.server
  const checked = { archive, segments: chain.segments, segmentBytes, systemIdentifier, signal, onProgress }
  const [problem] = await checkSegments(checked)
  if (problem) throw new HelixError('backup_invalid', `The log cannot be followed: ${problem}.`)
  if (atMs === undefined || atMs <= toMs || (await leavesLog(request, manifest))) return
  throw new HelixError(
    'invalid_arguments',
    `The log reaches to ${isoText(toMs)}, and ${isoText(atMs)} is after that. Without --to-time everything that there is will be restored.`,
  )
}

async function makeContent(
  request: RestoreRequest,
  workspace: string,
  backup: string,
  manifest: Manifest,
): Promise<string> {
  const { user, directory, signal, onProgress } = request
  const content = join(workspace, 'content')
  for (const path of [workspace, join(workspace, 'server')]) {
    await mkdir(path, { mode: 0o700 })
    if (user) await chown(path, user.uid, user.gid)
  }
  await copyData({ backup, manifest, into: content, user, signal, onProgress })
  if (await leavesLog(request, manifest)) await copyTail(directory, content, manifest, user)
  return content
}

/** Replays the log up to the moment. Returns when the last transaction was committed that it found. */
async function recover(
  request: RestoreRequest,
  workspace: string,
  manifest: Manifest,
  { archive, chain }: RecoveryWindow,
): Promise<number | undefined> {
  const { atMs, user, signal } = request
  const { majorVersion } = manifest.server
  const binaries = await findPostgresBinaries({ ...request, given: request.binaries, majorVersion })
  const command = manifest.source === 'embedded' ? restoreCommand(archive.directory) : request.restoreCommand
  const start = (moment: number | undefined) =>
    RecoveryServer.start({
      directory: join(workspace, 'content'),
      workspace: join(workspace, 'server'),
      user,
      binaries,
      server: manifest.server,
      signal,
      settings: {
        // On, but nothing leaves: what the new timeline begins with is archived by the server to come.
        archive_mode: 'on',
        archive_command: '',
        ...(command !== undefined && { restore_command: command }),
        recovery_target_timeline: timelineSetting(manifest, chain.timeline),
        ...(moment !== undefined && {
          // Abbreviations of time zones, Z too, are not known yet when PostgreSQL reads this.
          recovery_target_time: isoText(moment).replace('Z', '+00'),
        }),
        recovery_target_action: 'promote',
      },
    })
  let server = await start(atMs)
  try {
    const onReplayed = replayProgress(manifest, request.onProgress)
    const session = await server.reached('promoted', onReplayed).catch(async (reason: unknown) => {
      signal.throwIfAborted()
      const tooShort = (await server.log()).includes('recovery ended before configured recovery target')
      const wholeLog = await leavesLog(request, manifest)
      if (!tooShort) throw reason
      if (!wholeLog && (chain.endMs ?? 0) < (atMs ?? 0)) throw logTooShort(await server.log(), atMs)
      // The log reaches to the moment and beyond; only nothing was committed any more.
      await server.stop()
      server = await start(undefined)
      return server.reached('promoted', onReplayed)
    })
    try {
      return await settle(session, request, manifest)
    } finally {
      await session.close()
    }
  } finally {
    await server.stop()
  }
}

/** The installation's own password holds in the restored database too, whatever it was then. */
async function settle(
  session: Session,
  request: RestoreRequest,
  { source, server }: Manifest,
): Promise<number | undefined> {
  const [last] = await session.query<{ at: number | null }>(
    'select extract(epoch from pg_last_xact_replay_timestamp())::float8 * 1000 as at',
  )
  if (source === 'embedded') {
    const password = await readOrCreateSecret(request.passwordFile)
    await session.query(`alter role "${server.superuser.replaceAll('"', '""')}" password '${password}'`)
  }
  return typeof last?.at === 'number' ? Math.floor(last.at) : undefined
}

function logTooShort(log: string, atMs: number | undefined): HelixError {
  const [, last] = /last completed transaction was at log time (.+)/.exec(log) ?? []
  const reaches = last === undefined ? 'ends before any transaction' : `reaches to ${last}`
  return new HelixError(
    'invalid_arguments',
    `The log ${reaches}, and ${isoText(atMs ?? 0)} is after that. Without --to-time everything that there is will be restored.`,
  )
}

function isoText(timeMs: number): string {
  return new Date(timeMs).toISOString()
}

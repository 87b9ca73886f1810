import { chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { HelixError } from '../../core/errors.ts'
import type { OnProgress } from '../../core/progress.ts'
import { findPostgresBinaries } from '../postgres-binaries.ts'
import { restoreCommand } from './archive-script.ts'
import type { BackupStore } from './backup-store.ts'
import { compareContent, digestContent, type TableDigest } from './content-digest.ts'
import { checkFiles } from './file-records.ts'
import { checkIntegrity } from './integrity.ts'
import type { Manifest } from './manifest.ts'
import { copyData } from './recovery-copy.ts'
import {
  type OnReplayed,
  type RecoveryHost,
  RecoveryServer,
  replayProgress,
  timelineSetting,
} from './recovery-server.ts'
import { type RecoveryWindow, recoveryWindow } from './recovery-window.ts'
import { checkSecrets } from './secrets.ts'
import { checkSegments } from './wal-check.ts'

export interface VerifyRequest extends RecoveryHost {
  readonly store: BackupStore
  readonly id: string
  /** The file that the running server archived last, where one runs. */
  readonly lastArchived?: string | undefined
  readonly signal: AbortSignal
  readonly onProgress: OnProgress
}

export interface VerifyReport {
  readonly id: string
  /** Empty: the backup can be restored. */
  readonly problems: readonly string[]
  readonly files: number
  /** Of the archive, replayed on top of the backup. */
  readonly walFiles: number
  /** Every moment between these can be restored. */
  readonly fromMs: number
  readonly toMs: number
  /** Whether the rows were compared with what the database held when the backup was made. */
  readonly rowsCompared: boolean
  readonly amcheck: boolean
  /** At the end of the log. */
  readonly tables: readonly TableDigest[]
}

/**
 * Tells whether a backup can be restored by doing so, in a folder of its own: every checksum, the log without a gap
 * from the backup to its end, a server that replays it, the rows at the backup's witness point, then every page.
 * @throws HelixError `backup_not_found`, `backup_invalid`, `disk_full`; the signal's reason
 */
export async function verifyBackup(request: VerifyRequest): Promise<VerifyReport> {
  const { store, id, signal, onProgress } = request
  const { path, manifest } = await store.get(id)
  const window = await recoveryWindow({ store, manifest, lastArchived: request.lastArchived })
  const { chain, fromMs, toMs } = window
  const problems = [
    ...(await checkFiles(path, manifest, { signal, onProgress })),
    ...(await checkSecrets(path, manifest.secrets)),
    ...(chain.missing ? [`WAL file ${chain.missing} is missing in ${window.archive.directory}`] : []),
    ...(await checkSegments({
      archive: window.archive,
      segments: chain.segments,
      segmentBytes: manifest.wal.segmentBytes,
      systemIdentifier: manifest.server.systemIdentifier,
      signal,
      onProgress,
    })),
  ]
  const facts = { id, files: manifest.files.length, walFiles: chain.segments.length, fromMs, toMs }
  const rowsCompared = manifest.witness?.content !== undefined
  if (problems.length > 0) return { ...facts, problems, rowsCompared: false, amcheck: false, tables: [] }
  return { ...facts, rowsCompared, ...(await tryOut(request, path, manifest, window)) }
}

type Trial = Pick<VerifyReport, 'problems' | 'amcheck' | 'tables'>

async function tryOut(
  request: VerifyRequest,
  backup: string,
  manifest: Manifest,
  { archive, chain }: RecoveryWindow,
): Promise<Trial> {
  const { store, user, signal, onProgress } = request
  const { majorVersion } = manifest.server
  const binaries = await findPostgresBinaries({ ...request, given: request.binaries, majorVersion })
  return store.withWorkspace(async (workspace) => {
    const directory = join(workspace, 'content')
    const place = join(workspace, 'server')
    await mkdir(place, { mode: 0o700 })
    for (const path of user ? [workspace, place] : []) await chown(path, user?.uid ?? 0, user?.gid ?? 0)
    await copyData({ backup, manifest, into: directory, user, signal, onProgress })
    const common = { directory, workspace: place, user, binaries, server: manifest.server, signal }
    const settings = {
      archive_mode: 'off',
      shared_buffers: '16MB',
      // It is thrown away: nothing of it must survive a power cut.
      fsync: 'off',
      autovacuum: 'off',
      ...(manifest.source === 'embedded' && { restore_command: restoreCommand(archive.directory) }),
    }
    try {
      const onReplayed = replayProgress(manifest, onProgress)
      const differences = await compareAtWitness({ ...common, settings }, manifest, onReplayed)
      const toTheEnd = { ...settings, recovery_target_timeline: timelineSetting(manifest, chain.timeline) }
      const rest = await checkAtEnd({ ...common, settings: toTheEnd }, onReplayed, onProgress)
      return { ...rest, problems: [...differences, ...rest.problems] }
    } catch (reason) {
      signal.throwIfAborted()
      const error = HelixError.from(reason)
      if (error.code !== 'database_unavailable' && error.code !== 'storage_unavailable') throw error
      return { problems: [error.message], amcheck: false, tables: [] }
    }
  })
}

type ServerRequest = Parameters<typeof RecoveryServer.start>[0]

/** Replays up to the point at which it is known what the database held, and compares. */
async function compareAtWitness(
  request: ServerRequest,
  { witness }: Manifest,
  onReplayed: OnReplayed,
): Promise<readonly string[]> {
  if (!witness?.content) return []
  const settings = {
    ...request.settings,
    recovery_target_timeline: 'current',
    recovery_target_name: witness.restorePoint,
    recovery_target_action: 'pause',
  }
  const server = await RecoveryServer.start({ ...request, settings })
  try {
    const session = await server.reached('paused', onReplayed)
    try {
      return compareContent(witness.content, await digestContent(session, request.signal))
    } finally {
      await session.close()
    }
  } finally {
    await server.stop()
  }
}

async function checkAtEnd(
  request: ServerRequest,
  onReplayed: OnReplayed,
  onProgress: OnProgress,
): Promise<Trial> {
  const server = await RecoveryServer.start(request)
  try {
    const session = await server.reached('promoted', onReplayed)
    try {
      const checked = await checkIntegrity(session, request.signal, onProgress)
      if (checked.problems.length > 0) return { ...checked, tables: [] }
      const { tables } = await digestContent(session, request.signal)
      return { ...checked, tables }
    } finally {
      await session.close()
    }
  } finally {
    await server.stop()
  }
}

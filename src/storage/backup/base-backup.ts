import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { HelixError } from '../../core/errors.ts'
import type { OnProgress } from '../../core/progress.ts'
import { requireSpace } from './backup-failure.ts'
import { copyFile, forEach } from './copy-file.ts'
import { isAbsent, isControlFile, listDataDirectory, readControlFile } from './data-directory.ts'
import type { FileRecord } from './manifest.ts'
import type { Session } from './session.ts'

export interface BaseBackupRequest {
  readonly session: Session
  readonly majorVersion: number
  readonly dataDirectory: string
  /** Where the copy goes; must not exist. */
  readonly into: string
  readonly label: string
  readonly signal: AbortSignal
  readonly onProgress: OnProgress
}

export interface BaseBackup {
  readonly startLsn: string
  readonly stopLsn: string
  /** With paths in the data directory. What came besides the copied files is not among them. */
  readonly files: readonly FileRecord[]
}

/**
 * Copies a data directory while its server goes on writing, between `pg_backup_start` and `pg_backup_stop` on one
 * connection: what the npm package of PostgreSQL can do, since it has no pg_basebackup. The copy is torn; the log
 * from start to stop makes it whole.
 * @throws HelixError `backup_failed`, `disk_full`
 */
export async function copyCluster(request: BaseBackupRequest): Promise<BaseBackup> {
  const { session, majorVersion, label } = request
  // Renamed in version 15; before it, `false` at the end asks for what is the only way now.
  const start = majorVersion >= 15 ? 'pg_backup_start($1, true)' : 'pg_start_backup($1, true, false)'
  const stop = majorVersion >= 15 ? 'pg_backup_stop(false)' : 'pg_stop_backup(false, false)'
  const [begun] = await session.query<{ lsn: string }>(`select ${start}::text as lsn`, [label])
  const files = await copyFiles(request)
  const [ended] = await session.query<{ lsn: string; labelfile: string; spcmapfile: string }>(
    `select lsn::text, labelfile, spcmapfile from ${stop}`,
  )
  if (!begun || !ended) throw new HelixError('backup_failed', 'PostgreSQL did not say where the backup lies.')
  // Without the label, a server would start from the wrong place and never know.
  await writeFile(join(request.into, 'backup_label'), ended.labelfile, { mode: 0o600, flush: true })
  if (ended.spcmapfile.trim() !== '') {
    throw new HelixError('backup_failed', 'The database has tablespaces, which are not backed up.')
  }
  return { startLsn: begun.lsn, stopLsn: ended.lsn, files }
}

async function copyFiles(request: BaseBackupRequest): Promise<readonly FileRecord[]> {
  const { dataDirectory, into, signal, onProgress } = request
  const { directories, files } = await listDataDirectory(dataDirectory)
  const total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  await mkdir(into, { mode: 0o700 })
  await requireSpace(into, total)
  for (const path of directories) await mkdir(join(into, path), { recursive: true, mode: 0o700 })
  let done = 0
  const onBytes = (bytes: number) => {
    done += bytes
    onProgress({ step: 'copying the database', done, total: Math.max(done, total), unit: 'bytes' })
  }
  const copied: FileRecord[] = []
  const control = files.filter(({ path }) => isControlFile(path))
  await forEach(
    files.filter(({ path }) => !isControlFile(path)),
    async ({ path }) => {
      try {
        copied.push({
          path,
          ...(await copyFile(join(dataDirectory, path), join(into, path), { signal, onBytes })),
        })
      } catch (reason) {
        // Its table was dropped meanwhile, and the log says so too.
        if (!isAbsent(reason)) throw reason
      }
    },
  )
  for (const { path } of control) {
    await writeFile(join(into, path), await readControlFile(dataDirectory), { mode: 0o600, flush: true })
  }
  return copied
}

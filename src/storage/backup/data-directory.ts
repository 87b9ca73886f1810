import { lstat, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { HelixError } from '../../core/errors.ts'

/** What of a data directory goes into a backup, as paths in it. Parents come before their children. */
export interface DataDirectoryContent {
  readonly directories: readonly string[]
  readonly files: readonly { readonly path: string; readonly sizeBytes: number }[]
}

/** Only their existence counts: a server makes their content anew, or gets it from the log. */
const EMPTIED = new Set([
  'pg_dynshmem',
  'pg_notify',
  'pg_replslot',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
  'pg_wal',
])

/** Belong to the running server and not to its data. */
const LEFT_OUT = new Set([
  'backup_label',
  'backup_label.old',
  'backup_manifest',
  'current_logfiles',
  'log',
  'postgresql.auto.conf.tmp',
  'postmaster.opts',
  'postmaster.pid',
  'start.log',
  'tablespace_map',
  'tablespace_map.old',
])

const CONTROL_FILE = 'global/pg_control'

/** The list that PostgreSQL's documents give for a backup by the low-level functions. */
export async function listDataDirectory(directory: string): Promise<DataDirectoryContent> {
  const directories: string[] = []
  const files: { path: string; sizeBytes: number }[] = []
  const visit = async (parent: string): Promise<void> => {
    const entries = await readdir(join(directory, parent), { withFileTypes: true }).catch(absentAsEmpty)
    for (const { name } of entries) {
      const path = parent === '' ? name : `${parent}/${name}`
      if (LEFT_OUT.has(path) || isTemporary(name)) continue
      const found = await lstat(join(directory, path)).catch(absentAsUndefined)
      if (found?.isSymbolicLink() && path !== 'pg_wal') throw linkedElsewhere(path)
      if (found?.isFile()) files.push({ path, sizeBytes: found.size })
      if (!found?.isDirectory() && path !== 'pg_wal') continue
      directories.push(path)
      if (!EMPTIED.has(path)) await visit(path)
    }
  }
  await visit('')
  directories.push('pg_wal/archive_status')
  // Last, as PostgreSQL's own tools do.
  files.sort((a, b) => Number(a.path === CONTROL_FILE) - Number(b.path === CONTROL_FILE))
  return { directories, files }
}

function isTemporary(name: string): boolean {
  return name.startsWith('pgsql_tmp') || name === 'pg_internal.init' || name.startsWith('pg_internal.init.')
}

/**
 * The control file, whole: it may be read while the server writes it. Its checksum is kept at a place that depends on
 * the version, so it is read until two readings agree.
 */
export async function readControlFile(directory: string): Promise<Buffer> {
  const path = join(directory, CONTROL_FILE)
  let content = await readFile(path)
  for (;;) {
    const again = await readFile(path)
    if (again.equals(content)) return content
    content = again
  }
}

export function isControlFile(path: string): boolean {
  return path === CONTROL_FILE
}

/** Stands at the beginning of the control file of every version; undefined where no database is. */
export async function systemIdentifierOf(directory: string): Promise<string | undefined> {
  const content = await readFile(join(directory, CONTROL_FILE)).catch(absentAsUndefined)
  return content && String(content.readBigUInt64LE(0))
}

function linkedElsewhere(path: string): HelixError {
  return new HelixError(
    'backup_failed',
    `The database keeps ${path} outside its folder, and such a part is not backed up. Move tablespaces back first.`,
  )
}

function absentAsUndefined(reason: unknown): undefined {
  if (!isAbsent(reason)) throw reason
}

function absentAsEmpty(reason: unknown): [] {
  if (!isAbsent(reason)) throw reason
  return []
}

/** Tables are dropped while their files are being listed. */
export function isAbsent(reason: unknown): boolean {
  return reason instanceof Error && 'code' in reason && reason.code === 'ENOENT'
}

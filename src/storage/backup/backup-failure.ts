import { HelixError } from '../../core/errors.ts'
import { freeSpace } from '../free-space.ts'

/** What the operator is told when the system refused a file: that the disk is full, or what it said. */
export function toBackupError(reason: unknown, directory: string): HelixError {
  if (reason instanceof HelixError) {
    // What PostgreSQL refused to read or do is the operator's to know here.
    if (reason.code !== 'internal_error') return reason
    return new HelixError('backup_failed', `The backup could not be finished: ${reason.message}`, {
      cause: reason,
    })
  }
  const code = reason instanceof Error && 'code' in reason ? reason.code : undefined
  const said = reason instanceof Error ? reason.message : String(reason)
  if (code === 'ENOSPC' || code === 'EDQUOT') return diskFull(directory, said, reason)
  return new HelixError('backup_failed', `The backup could not be finished: ${said}`, { cause: reason })
}

/** @throws HelixError `disk_full` before anything is written */
export async function requireSpace(directory: string, neededBytes: number): Promise<void> {
  const freeBytes = await freeSpace(directory)
  if (freeBytes >= neededBytes) return
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
  throw diskFull(directory, `${megabytes(neededBytes)} are needed and ${megabytes(freeBytes)} are free`)
}

export function diskFull(directory: string, detail: string, cause?: unknown): HelixError {
  return new HelixError(
    'disk_full',
    `The disk of ${directory} is full: ${detail}. Make room, or set backup.directory to another disk.`,
    { cause },
  )
}

import { statfs } from 'node:fs/promises'
import { HelixError } from '../core/errors.ts'
import { byteText } from './byte-text.ts'

/**
 * Fails before anything is written when the folder's disk has too little room. Others write to the same disk,
 * so writing can still run out of it: see `asDiskFull`.
 * @throws HelixError `disk_full`
 */
export async function requireFreeSpace(folder: string, neededBytes: number): Promise<void> {
  const availableBytes = await freeBytes(folder)
  if (neededBytes > availableBytes) throw diskFull(folder, neededBytes, availableBytes)
}

/** Bytes that may still be written there; Infinity where the file system does not tell. */
export async function freeBytes(folder: string): Promise<number> {
  const { blocks, bavail, bsize } = await statfs(folder)
  return blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize
}

/** `disk_full` for the errors of a disk or a quota without room; any other error comes back as it is. */
export async function asDiskFull(cause: unknown, folder: string, neededBytes?: number): Promise<unknown> {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return cause
  return diskFull(folder, neededBytes, await freeBytes(folder), cause)
}

function diskFull(
  folder: string,
  neededBytes: number | undefined,
  availableBytes: number,
  cause?: unknown,
): HelixError {
  const needed = neededBytes === undefined ? 'more is needed' : `${byteText(neededBytes)} are needed`
  return new HelixError(
    'disk_full',
    `Too little room in ${folder}: ${needed}, ${byteText(availableBytes)} are free. ` +
      'Free some space, or set models.directory to a larger disk, then run the same command again.',
    { cause },
  )
}

import { statfs } from 'node:fs/promises'

/** Bytes that may still be written to the folder's disk; Infinity where the file system does not tell. */
export async function freeSpace(directory: string): Promise<number> {
  const { blocks, bavail, bsize } = await statfs(directory)
  return blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize
}

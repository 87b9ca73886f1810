import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isRunning } from './running-process.ts'

/** A name beside `path`, on the same disk, for what is to be moved there when it is whole. Says whose work it is. */
export function temporaryBeside(path: string): string {
  return `${path}.new-${process.pid}-${randomBytes(4).toString('hex')}`
}

/** Removes what processes that are gone left half made. The folder of `path` is made if it is missing. */
export async function removeLeftovers(path: string): Promise<void> {
  const parent = dirname(path)
  await mkdir(parent, { recursive: true, mode: 0o700 })
  const prefix = `${basename(path)}.new-`
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue
    const pid = Number(name.slice(prefix.length).split('-')[0])
    if (await isRunning(pid)) continue
    // A child of that process may live a moment longer and still write there.
    await rm(join(parent, name), { recursive: true, force: true, maxRetries: 10 })
  }
}

import { link, readFile, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { commandName } from './running-process.ts'

/** What a running PostgreSQL says of itself in `postmaster.pid`. */
export interface PostmasterFile {
  readonly pid: number
  readonly socketDirectory: string
  readonly status: 'starting' | 'ready' | 'stopping'
}

/** The server that runs on that data directory, whoever started it; undefined when none does. */
export async function readPostmasterFile(directory: string): Promise<PostmasterFile | undefined> {
  const text = await readFile(postmasterPath(directory), 'utf8').catch(() => '')
  const lines = text.split('\n')
  const pid = Number(lines[0])
  if (!(await isPostgres(pid))) return undefined
  const status = (lines[7] ?? '').trim()
  return {
    pid,
    socketDirectory: lines[4] ?? '',
    // The file is written line by line: no status yet means that it has just started.
    status: status === 'ready' || status === 'stopping' ? status : 'starting',
  }
}

/**
 * After a crash of the machine, the number in the file may by now be another program's, and PostgreSQL would refuse to
 * start for its sake. A file whose process is gone, PostgreSQL recognises by itself.
 */
export async function removeStaleFile(directory: string): Promise<void> {
  const path = postmasterPath(directory)
  const text = await readFile(path, 'utf8').catch(() => '')
  const name = await commandName(Number(text.split('\n')[0]))
  if (name === undefined || POSTGRES_NAMES.has(name)) return

  // The file is what keeps two servers from one directory. So it is moved and looked at again: a server that started
  // in between gets its own back.
  const aside = `${path}.stale-${process.pid}`
  await rename(path, aside)
  if ((await readFile(aside, 'utf8')) !== text) await link(aside, path)
  await unlink(aside)
}

/** A file left by a crash may name a process that is something else by now. */
export async function isPostgres(pid: number): Promise<boolean> {
  return POSTGRES_NAMES.has((await commandName(pid)) ?? '')
}

const POSTGRES_NAMES: ReadonlySet<string> = new Set(['postgres', 'postmaster'])

function postmasterPath(directory: string): string {
  return join(directory, 'postmaster.pid')
}

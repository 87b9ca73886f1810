import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncDirectory } from './directory-once.ts'

/**
 * Puts a directory in the place of another, which stays beside it under `aside`. No system call for it can be
 * reached from here, so it takes two renames; a file says what is meant, and `finishSwap` completes it after a crash
 * between them. Without that, the next start would find no database and make an empty one.
 * @returns `aside`, or undefined where nothing was in the place
 */
export async function swapDirectory(from: string, to: string, aside: string): Promise<string | undefined> {
  const note = await open(notePath(to), 'w', 0o600)
  try {
    await note.writeFile(`${from}\n`)
    await note.sync()
  } finally {
    await note.close()
  }
  await syncDirectory(dirname(to))
  const occupied = await exists(to)
  if (occupied) await rename(to, aside)
  await finishSwap(to)
  return occupied ? aside : undefined
}

/** Completes a swap that was interrupted between its two steps. To be called before anything looks at the place. */
export async function finishSwap(to: string): Promise<void> {
  const from = (await readFile(notePath(to), 'utf8').catch(() => '')).trim()
  if (from === '') return
  // Interrupted before the first step: what is in place stays there.
  if (!(await exists(to)) && (await exists(from))) await rename(from, to)
  await syncDirectory(dirname(to))
  await rm(notePath(to), { force: true })
}

function notePath(to: string): string {
  return `${to}.swap`
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

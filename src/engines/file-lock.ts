import { randomUUID } from 'node:crypto'
import { type FileHandle, link, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { HelixError } from '../core/errors.ts'
import { asDiskFull } from './free-space.ts'

export interface FileLockOptions {
  readonly signal?: AbortSignal | undefined
  /** Told once, with the holder's process id, when somebody else holds it. */
  readonly onWaiting?: ((pid: number) => void) | undefined
  /** A lock whose holder has given no sign of life for so long is taken over. */
  readonly staleAfterMs?: number
}

/** What work under a lock may ask before its last step. */
export interface HeldLock {
  /** @throws HelixError `download_interrupted` when another process took the lock over */
  requireHeld(): Promise<void>
}

const POLL_MS = 100

/**
 * Does `work` while nobody else does work under the lock file of that path, in this process, in another one,
 * or on another machine with the same folder. A holder that died on this machine is noticed at once, any
 * other by its silence. Silence is measured by the waiting side, so that no two clocks need to agree.
 * @throws the signal's reason when it aborts before the lock is held
 */
export async function withFileLock<T>(
  path: string,
  options: FileLockOptions,
  work: (lock: HeldLock) => Promise<T>,
): Promise<T> {
  const { staleAfterMs = 30_000 } = options
  const token = randomUUID()
  const handle = await acquire(path, token, { ...options, staleAfterMs })
  // This timer is also what keeps the process alive through a pause between two tries of a download.
  const heartbeat = setInterval(() => {
    const now = new Date()
    // A beat that fails is silence, which others take for what it is and `requireHeld` finds out.
    handle.utimes(now, now).catch(() => {})
  }, staleAfterMs / 6)
  try {
    return await work({ requireHeld: () => requireHeld(path, token) })
  } finally {
    clearInterval(heartbeat)
    await handle.close()
    if ((await lookAt(path))?.token === token) await rm(path, { force: true })
  }
}

async function acquire(
  path: string,
  token: string,
  { signal, onWaiting, staleAfterMs }: FileLockOptions & { readonly staleAfterMs: number },
): Promise<FileHandle> {
  let watched: Holder | undefined
  let silentSinceMs = 0
  for (;;) {
    signal?.throwIfAborted()
    const handle = await create(path, token)
    if (handle !== undefined) return handle
    const holder = await lookAt(path)
    if (holder === undefined) continue
    const isFirstLook = watched === undefined
    if (watched?.token !== holder.token || watched.beatMs !== holder.beatMs) silentSinceMs = performance.now()
    watched = holder
    if (isDead(holder) || performance.now() - silentSinceMs > staleAfterMs) {
      await takeAway(path, holder, token)
    } else {
      if (isFirstLook) onWaiting?.(holder.pid)
      await wait(POLL_MS)
    }
  }
}

interface Holder {
  readonly pid: number
  readonly host: string
  readonly token: string
  readonly beatMs: number
}

async function create(path: string, token: string): Promise<FileHandle | undefined> {
  let handle: FileHandle
  try {
    handle = await open(path, 'wx')
  } catch (cause) {
    if (hasCode(cause, 'EEXIST')) return undefined
    throw await asDiskFull(cause, dirname(path))
  }
  try {
    await handle.writeFile(`${process.pid} ${hostname()} ${token}\n`)
    return handle
  } catch (cause) {
    await handle.close()
    await rm(path, { force: true })
    throw await asDiskFull(cause, dirname(path))
  }
}

/** Undefined when there is no lock. One that is just being written has no pid yet: it counts as alive. */
async function lookAt(path: string): Promise<Holder | undefined> {
  try {
    const beatMs = (await stat(path)).mtimeMs
    const [pid = '', host = '', token = ''] = (await readFile(path, 'utf8')).trim().split(' ')
    return { pid: Number(pid), host, token, beatMs }
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) return undefined
    throw cause
  }
}

function isDead({ pid, host }: Holder): boolean {
  if (host !== hostname()) return false
  try {
    process.kill(pid, 0)
    return false
  } catch (cause) {
    return hasCode(cause, 'ESRCH')
  }
}

/** Removes the lock of a holder that is gone, but not one that somebody has made since. */
async function takeAway(path: string, gone: Holder, token: string): Promise<void> {
  const aside = `${path}.${token}`
  try {
    await rename(path, aside)
    if ((await lookAt(aside))?.token !== gone.token) await link(aside, path)
  } catch (cause) {
    // Others were faster, in taking it away or in making a new one; whoever lost a lock so finds out in time.
    if (!hasCode(cause, 'ENOENT') && !hasCode(cause, 'EEXIST')) throw cause
  } finally {
    await rm(aside, { force: true })
  }
}

async function requireHeld(path: string, token: string): Promise<void> {
  if ((await lookAt(path))?.token === token) return
  throw new HelixError(
    'download_interrupted',
    'Another process took over this work, because this one gave no sign of life for a while. ' +
      'Run the command again to see what became of it.',
    { internal: `lock lost: ${path}` },
  )
}

function hasCode(cause: unknown, code: string): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === code
}

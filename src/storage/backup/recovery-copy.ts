import { chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { HelixError } from '../../core/errors.ts'
import type { OnProgress } from '../../core/progress.ts'
import type { SystemUser } from '../run-command.ts'
import { requireSpace } from './backup-failure.ts'
import { copyFile, forEach } from './copy-file.ts'
import { isAbsent } from './data-directory.ts'
import type { Manifest } from './manifest.ts'

const DATA = 'data/'

/**
 * Copies the data directory out of a backup, and gives it to the user that will run a server on it. Every byte is
 * compared with the manifest on its way.
 * @throws HelixError `backup_invalid`, `disk_full`
 */
export async function copyData(request: {
  backup: string
  manifest: Manifest
  into: string
  user: SystemUser | undefined
  signal: AbortSignal
  onProgress: OnProgress
}): Promise<void> {
  const { backup, manifest, into, user, signal, onProgress } = request
  const files = manifest.files.filter(({ path }) => path.startsWith(DATA))
  const directories = manifest.directories.filter((path) => path.startsWith(DATA))
  const total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  await mkdir(into, { mode: 0o700 })
  if (user) await chown(into, user.uid, user.gid)
  await requireSpace(into, total)
  for (const path of directories) {
    const directory = join(into, path.slice(DATA.length))
    await mkdir(directory, { mode: 0o700 })
    if (user) await chown(directory, user.uid, user.gid)
  }
  let done = 0
  const onBytes = (bytes: number) => {
    done += bytes
    onProgress({ step: 'copying the database', done, total, unit: 'bytes' })
  }
  await forEach(files, async ({ path, sizeBytes, sha256 }) => {
    const to = join(into, path.slice(DATA.length))
    const copied = await copyFile(join(backup, path), to, { signal, onBytes }).catch((reason: unknown) => {
      if (isAbsent(reason)) throw unusable(`its file ${path} is missing`)
      throw reason
    })
    if (copied.sizeBytes !== sizeBytes || copied.sha256 !== sha256) {
      throw unusable(`its file ${path} is damaged`)
    }
    if (user) await chown(to, user.uid, user.gid)
  })
}

function unusable(reason: string): HelixError {
  return new HelixError('backup_invalid', `The backup cannot be used: ${reason}.`)
}

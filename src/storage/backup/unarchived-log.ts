import { access, chown, copyFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { SystemUser } from '../run-command.ts'
import type { Manifest } from './manifest.ts'
import type { WalArchive } from './wal-archive.ts'
import { parseSegmentName } from './wal-names.ts'

const HISTORY = /^[0-9A-F]{8}\.history$/

/** Archives what a server that was killed had finished: no more than its next start would have done. */
export async function archiveRest(
  dataDirectory: string,
  archive: WalArchive,
  user: SystemUser | undefined,
): Promise<void> {
  await archive.prepare(user)
  const log = join(dataDirectory, 'pg_wal')
  for (const name of (await readdir(join(log, 'archive_status'))).sort()) {
    const file = name.slice(0, -'.ready'.length)
    const finished = name.endsWith('.ready') && (await exists(join(log, file)))
    if (finished && !(await archive.has(file))) await archive.add(join(log, file), file, user)
  }
}

/** Takes along what was not finished: the last segment, which holds the last transactions. */
export async function copyTail(
  dataDirectory: string,
  into: string,
  manifest: Manifest,
  user: SystemUser | undefined,
): Promise<void> {
  const log = join(dataDirectory, 'pg_wal')
  for (const name of await readdir(log)) {
    const wanted = HISTORY.test(name) || parseSegmentName(name, manifest.wal.segmentBytes)
    const archived = await exists(join(log, 'archive_status', `${name}.done`))
    const to = join(into, 'pg_wal', name)
    if (!wanted || archived || (await exists(to))) continue
    await copyFile(join(log, name), to)
    if (user) await chown(to, user.uid, user.gid)
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

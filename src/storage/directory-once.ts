import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { removeLeftovers, temporaryBeside } from './leftovers.ts'

/**
 * Makes a directory that is either whole or absent: `make` fills `content`, a path in a workspace beside the final
 * place, and a rename puts it there. When somebody else was faster, theirs stays and ours is discarded. `make` may
 * leave other things in the workspace, which goes away.
 *
 * What a killed process left behind is removed by the next call.
 */
export async function makeDirectoryOnce(
  path: string,
  make: (content: string, workspace: string) => Promise<void>,
): Promise<void> {
  await removeLeftovers(path)
  const workspace = temporaryBeside(path)
  await mkdir(workspace, { recursive: true, mode: 0o700 })
  try {
    const content = join(workspace, 'content')
    await make(content, workspace)
    await rename(content, path).catch((reason: unknown) => {
      if (!isOccupied(reason)) throw reason
    })
    await syncDirectory(dirname(path))
  } finally {
    await rm(workspace, { recursive: true, force: true })
  }
}

/** Without it a power cut could forget the rename. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function isOccupied(reason: unknown): boolean {
  return (
    reason instanceof Error && 'code' in reason && (reason.code === 'ENOTEMPTY' || reason.code === 'EEXIST')
  )
}

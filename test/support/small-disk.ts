import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Why no disk of a chosen size can be had here; undefined when one can. Only root on Linux may mount one. */
export const noSmallDisk = findProblem()

/** An empty folder on a disk of its own. The returned function takes it away again. */
export function mountSmallDisk(size: string): { path: string; unmount(): void } {
  const path = mkdtempSync(join(tmpdir(), 'helixflow-disk-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path], {
    encoding: 'utf8',
  })
  if (mounted.status !== 0) {
    rmdirSync(path)
    throw new Error(mounted.error?.message ?? mounted.stderr.trim())
  }
  return {
    path,
    unmount: () => {
      const unmounted = spawnSync('umount', [path], { encoding: 'utf8' })
      if (unmounted.status !== 0) throw new Error(unmounted.stderr.trim())
      rmdirSync(path)
    },
  }
}

function findProblem(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return 'only root on Linux can mount a small disk'
  try {
    mountSmallDisk('64k').unmount()
    return undefined
  } catch (cause) {
    return String(cause)
  }
}

import { spawnSync } from 'node:child_process'

/** Keeps this process on one core, away from what it measures. */
export function pinTo(core: number): void {
  const { status, stderr } = spawnSync('taskset', ['-a', '-c', '-p', String(core), String(process.pid)], {
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`two cores and taskset (Debian: util-linux) are needed: ${stderr}`)
}

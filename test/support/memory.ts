import { execFileSync } from 'node:child_process'

/** Memory of a process that lies in RAM. */
export function residentBytes(pid: number): number {
  return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) * 1024
}

import type { Server } from './server.ts'

/** The process that serves a model first, or the one that came in the place of another. */
export async function engineProcess(
  server: Pick<Server, 'logged'>,
  model: string,
  other?: number,
): Promise<number> {
  const before = other === undefined ? '' : `"pid":${other},"alias":"${model}"[^]*?`
  const [, pid] = await server.logged(new RegExp(`${before}"pid":(\\d+),"alias":"${model}"`))
  return Number(pid)
}

/** Whether there is such a process at all. */
export function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

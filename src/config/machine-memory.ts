import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'

/** Memory that this process and its children may use: a container has less than the machine under it. */
export function machineMemory(): number {
  return Math.min(totalmem(), memoryLimit())
}

/** What the container allows; infinite where there is none. */
export function memoryLimit(): number {
  for (const path of ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes']) {
    const limit = Number(readIfThere(path))
    if (Number.isFinite(limit) && limit > 0) return limit
  }
  return Number.POSITIVE_INFINITY
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}

import { readFileSync } from 'node:fs'
import { freemem, totalmem } from 'node:os'

/** What is left to the rest of the machine: the operating system, the database, this program. */
const SHARE_FOR_MODELS = 0.8

/** Memory that models may take on this machine: what the operator says, else four fifths of what we may use. */
export function memoryForModels(limitBytes: number | undefined): number {
  return limitBytes ?? Math.floor(Math.min(totalmem(), cgroupLimit()) * SHARE_FOR_MODELS)
}

/** Memory that is free now, for the operator to see. */
export function availableMemory(): number {
  return Math.min(freemem(), cgroupLimit())
}

/** A container has less than the machine under it. */
function cgroupLimit(): number {
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

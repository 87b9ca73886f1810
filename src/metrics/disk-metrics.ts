import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Clock } from '../core/clock.ts'
import type { Metrics } from '../core/metrics.ts'

export interface DiskWatch {
  /** What lies there, as the label says it: data, models, spool, database, backups. */
  readonly place: string
  readonly directory: string
  readonly clock: Clock
}

const EVERY_MS = 30_000

/**
 * Tells how much room there is where a folder lies, or will lie. One look after the other: on a network drive that hangs,
 * more of them would only take threads from others.
 */
export function watchDisk(metrics: Metrics, { place, directory, clock }: DiskWatch): () => void {
  let stopped = false
  let cancel = () => {}
  const look = async () => {
    const room = await roomOf(directory)
    if (stopped) return
    if (room) {
      metrics.set('helixflow_disk_free_bytes', { place }, room.freeBytes)
      metrics.set('helixflow_disk_total_bytes', { place }, room.totalBytes)
    } else {
      metrics.drop('helixflow_disk_free_bytes', { place })
      metrics.drop('helixflow_disk_total_bytes', { place })
    }
    cancel = clock.schedule(EVERY_MS, look)
  }
  void look()
  return () => {
    stopped = true
    cancel()
  }
}

/** Undefined where the file system does not tell. */
async function roomOf(directory: string): Promise<{ freeBytes: number; totalBytes: number } | undefined> {
  try {
    const { blocks, bavail, bsize } = await statfs(directory)
    return blocks === 0 ? undefined : { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
  } catch (reason) {
    const parent = dirname(directory)
    const isMissing = reason instanceof Error && 'code' in reason && reason.code === 'ENOENT'
    return isMissing && parent !== directory ? roomOf(parent) : undefined
  }
}

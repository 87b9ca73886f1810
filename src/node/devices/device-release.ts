import { type Clock, delay } from '../../core/clock.ts'
import type { NvidiaProcess, NvidiaReading } from './nvml-device.ts'
import { descendsFrom } from './process-tree.ts'

export interface ReleaseOptions {
  /** The process whose memory is to be free, while it still lives. */
  readonly pid: number
  readonly deviceIds: readonly string[]
  /** The last reading from before its end. */
  readonly before: readonly NvidiaReading[]
  readonly read: () => Promise<readonly NvidiaReading[] | undefined>
  readonly clock: Clock
}

const INTERVAL_MS = 20
const TIMEOUT_MS = 5_000
/** The driver's own rounding, and what others free or take meanwhile, must not keep anybody waiting. */
const RELEASED_SHARE = 0.9

/**
 * To be called before an engine is ended. What it returns waits, after that, until the cards show that its memory is
 * free, and resolves with those that did not within five seconds. An ended process can hold its memory for a
 * while (NVIDIA frees it in about 0.2 s), and who loads into it too early fails. Ollama waits alike (`waitForVRAMRecovery`).
 */
export function expectRelease(options: ReleaseOptions): () => Promise<readonly string[]> {
  const held = options.before
    .filter(({ id }) => options.deviceIds.includes(id))
    .map((before) => ({ before, processes: processesOf(before, options.pid) }))
    // Where the driver lists none of its processes, nothing can be waited for.
    .filter(({ processes }) => processes.length > 0)
  return async () => {
    const late = delay(options.clock, TIMEOUT_MS).then(() => 'late' as const)
    let kept = held
    while (kept.length > 0) {
      // The end first: a reading that is there at the same moment would go on for ever.
      const now = await Promise.race([late, options.read()])
      if (now === 'late') break
      kept = kept.filter(
        (one) =>
          !isReleased(
            one,
            now?.find(({ id }) => id === one.before.id),
          ),
      )
      if (kept.length > 0) await Promise.race([late, delay(options.clock, INTERVAL_MS)])
    }
    return kept.map(({ before }) => before.id)
  }
}

/** Those that are the process or were started by it. */
function processesOf({ processes }: NvidiaReading, pid: number): readonly NvidiaProcess[] {
  return (processes ?? []).filter((process) => descendsFrom(process.pid, pid))
}

interface Held {
  readonly before: NvidiaReading
  readonly processes: readonly NvidiaProcess[]
}

function isReleased({ before, processes }: Held, now: NvidiaReading | undefined): boolean {
  if (!now) return false
  // Nothing will be loaded there.
  if (now.lostBecause !== undefined) return true
  if (now.processes?.some(({ pid }) => processes.some((process) => process.pid === pid))) return false
  if (before.usedBytes === undefined || now.usedBytes === undefined) return true
  const bytes = processes.reduce((sum, process) => sum + (process.bytes ?? 0), 0)
  return now.usedBytes <= before.usedBytes - RELEASED_SHARE * bytes
}

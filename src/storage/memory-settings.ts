const MIB = 2 ** 20

/** Sizes in bytes. */
export interface MemorySettings {
  readonly sharedBuffers: number
  /** For each sort and hash of each statement that runs. */
  readonly workMem: number
  /** For each autovacuum worker, and for each index that is built. */
  readonly maintenanceWorkMem: number
  /** Takes nothing; tells the planner how much of the data is probably in memory. */
  readonly effectiveCacheSize: number
}

/** The most that helps statements which find rows by key and sort a page of them. */
export const WORK_MEM_MAX = 256 * MIB
export const MAINTENANCE_WORK_MEM_MAX = 512 * MIB
const WORK_MEM_MIN = 4 * MIB
const MAINTENANCE_WORK_MEM_MIN = 32 * MIB
const SHARED_BUFFERS_MIN = 32 * MIB
const SHARED_BUFFERS_MAX = 4_096 * MIB

/** PostgreSQL runs three autovacuum workers, and somebody may build an index meanwhile. */
export const MAINTENANCE_PROCESSES = 4

/** Of a machine that the database shares with models; they get four fifths. */
export const SHARED_MACHINE_SHARE = 0.1

/**
 * How a database should use its memory: a quarter for the pages that all share, a half for the work of all
 * connections at the same time, an eighth for maintenance. The rest are its processes.
 */
export function memorySettings(databaseBytes: number, connections: number): MemorySettings {
  return {
    sharedBuffers: clamp(databaseBytes / 4, SHARED_BUFFERS_MIN, SHARED_BUFFERS_MAX),
    workMem: clamp(databaseBytes / 2 / connections, WORK_MEM_MIN, WORK_MEM_MAX),
    maintenanceWorkMem: clamp(
      databaseBytes / 8 / MAINTENANCE_PROCESSES,
      MAINTENANCE_WORK_MEM_MIN,
      MAINTENANCE_WORK_MEM_MAX,
    ),
    effectiveCacheSize: clamp((databaseBytes * 3) / 4, SHARED_BUFFERS_MIN, Number.MAX_SAFE_INTEGER),
  }
}

/** What a server takes when every connection sorts and every maintenance process runs. */
export function worstCaseBytes(
  settings: Omit<MemorySettings, 'effectiveCacheSize'>,
  connections: number,
): number {
  const { sharedBuffers, workMem, maintenanceWorkMem } = settings
  return sharedBuffers + workMem * connections + maintenanceWorkMem * MAINTENANCE_PROCESSES
}

/** As PostgreSQL reads it on its command line. */
export function memoryArguments(settings: MemorySettings): Readonly<Record<string, string>> {
  const { sharedBuffers, workMem, maintenanceWorkMem, effectiveCacheSize } = settings
  return {
    shared_buffers: megabytes(sharedBuffers),
    work_mem: megabytes(workMem),
    maintenance_work_mem: megabytes(maintenanceWorkMem),
    effective_cache_size: megabytes(effectiveCacheSize),
  }
}

/** PostgreSQL's MB has 2^20 bytes. */
function megabytes(bytes: number): string {
  return `${Math.floor(bytes / MIB)}MB`
}

function clamp(value: number, low: number, high: number): number {
  return Math.floor(Math.min(high, Math.max(low, value)))
}

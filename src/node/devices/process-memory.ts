import { readFileSync } from 'node:fs'

/** What a process takes of the machine's memory. */
export interface ProcessMemory {
  /** Its own: nothing else can have it while the process lives. */
  readonly ownBytes: number
  /** Pages of files that it has mapped, such as a model's weights: the system can take them away and read them again. */
  readonly mappedBytes: number
}

/** Undefined where the system does not tell (other than Linux), or when the process is gone. */
export function memoryOf(pid: number, proc = '/proc'): ProcessMemory | undefined {
  let status: string
  try {
    status = readFileSync(`${proc}/${pid}/status`, 'utf8')
  } catch {
    return undefined
  }
  const bytes = (name: string) => {
    const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]
    return kib === undefined ? undefined : 1024 * Number(kib)
  }
  const anonymous = bytes('RssAnon')
  if (anonymous === undefined) return undefined
  return { ownBytes: anonymous + (bytes('RssShmem') ?? 0), mappedBytes: bytes('RssFile') ?? 0 }
}

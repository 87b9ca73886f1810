import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, readlinkSync, statSync } from 'node:fs'
import { hostname } from 'node:os'

/** A folder whose process cannot be asked for is given up after so much silence; its owner gives a sign each tenth. */
export const SILENCE_MAX_MS = 60_000

/**
 * The name of a folder of this process: where it runs, its number, when it was started. Numbers are used again, in a
 * container at every start, so that the number alone says nothing.
 */
export function spoolFolderName(token: string): string {
  return `gateway-${placeHash()}-${process.pid}-${startOf(process.pid)}-${token}`
}

const PATTERN = /^gateway-([0-9a-f]{8})-(\d+)-([0-9a-f]+)-\w+$/

/** Says of folders in turn whether their process is gone. Silence is measured here, so that no two clocks need agree. */
export class SpoolOwners {
  private readonly seen = new Map<string, { beatMs: number; sinceMs: number }>()

  /** @param monotonicMs now, on this process's own clock */
  isGone(directory: string, name: string, monotonicMs: number): boolean {
    const [, place, pid, start] = PATTERN.exec(name) ?? []
    if (place === undefined) return false
    if (place === placeHash()) return startOf(Number(pid)) !== start
    // Another machine or container that has the same disk.
    const beatMs = statSync(directory).mtimeMs
    const seen = this.seen.get(name)
    if (seen?.beatMs === beatMs) return monotonicMs - seen.sinceMs > SILENCE_MAX_MS
    this.seen.set(name, { beatMs, sinceMs: monotonicMs })
    return false
  }
}

let place: string | undefined

/** Where process numbers mean the same as here. */
function placeHash(): string {
  place ??= hash(`${hostname()} ${processNamespace()}`)
  return place
}

function processNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return ''
  }
}

/** When the process of that number was started, in the words of the system; `0` when there is none. */
function startOf(pid: number): string {
  if (process.platform !== 'linux') return startByPs(pid)
  try {
    const status = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ')
    // One that has ended and waits to be reaped writes no more.
    if (fields[0] === 'Z' || fields[0] === 'X') return '0'
    return hash(`${bootId()} ${fields[19]}`)
  } catch {
    return '0'
  }
}

/** Starts are counted from the start of the machine. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  } catch {
    return ''
  }
}

function startByPs(pid: number): string {
  try {
    return hash(execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim())
  } catch {
    return '0'
  }
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8)
}

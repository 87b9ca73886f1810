import { readdirSync, readFileSync } from 'node:fs'

/** The kernel's clock tick; 100 per second on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/** Processor time of a process and all below it, those that have ended included, in seconds. */
export function cpuSecondsOf(pid: number): number {
  const ticks = treeOf(pid).map((one) => {
    // utime, stime, cutime and cstime; the first field after the name, which may hold spaces, is the third of all.
    const fields = statOf(one)?.slice(11, 15) ?? []
    return fields.reduce((sum, field) => sum + Number(field), 0)
  })
  return ticks.reduce((sum, one) => sum + one, 0) / TICKS_PER_SECOND
}

/** Processor time that the whole machine has spent working since it booted, in seconds. */
export function machineBusySeconds(): number {
  const [, user, nice, system, , , irq, softirq, steal] = (
    readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? ''
  )
    .split(/\s+/)
    .map(Number)
  const ticks = [user, nice, system, irq, softirq, steal].reduce<number>((sum, one) => sum + (one ?? 0), 0)
  return ticks / TICKS_PER_SECOND
}

/** Resident memory of the process itself, now and at its most, in MB. */
export function memoryOf(pid: number): { readonly nowMb: number; readonly peakMb: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1_024
  return { nowMb: megabytes(field('VmRSS')), peakMb: megabytes(field('VmHWM')) }
}

/** Memory of the processes below this one, shared pages counted once, in MB. */
export function memoryBelow(pid: number): number {
  const bytes = treeOf(pid)
    .filter((one) => one !== pid)
    .map((one) => Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${one}/smaps_rollup`, 'utf8'))?.[1]))
  return megabytes(bytes.reduce((sum, kilobytes) => sum + kilobytes, 0) * 1_024)
}

/** The process and all below it. */
export function treeOf(root: number): readonly number[] {
  const parents = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), parent: Number(statOf(Number(name))?.[1]) }))
  const tree = [root]
  for (const pid of tree) tree.push(...parents.filter(({ parent }) => parent === pid).map((one) => one.pid))
  return tree
}

/** The fields after the process's name; undefined when it has ended. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e5) / 10
}

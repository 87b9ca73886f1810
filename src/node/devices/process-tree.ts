import { readFileSync } from 'node:fs'

/** Longer chains of parents are not looked at: an engine is our child, or the child of a script that is. */
const GENERATIONS_MAX = 16

/**
 * Whether `pid` is `ancestor` or was started by it, at whatever remove. Linux only, from /proc; elsewhere only the
 * process itself is known.
 */
export function descendsFrom(pid: number, ancestor: number): boolean {
  let current: number | undefined = pid
  for (let generation = 0; generation < GENERATIONS_MAX && current !== undefined; generation++) {
    if (current === ancestor) return true
    current = parentOf(current)
  }
  return false
}

function parentOf(pid: number): number | undefined {
  try {
    // pid (name) state parent ...; the name may hold anything, closing brackets too.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return undefined
  }
}

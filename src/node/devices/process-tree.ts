import { readdirSync, readFileSync } from 'node:fs'

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

/**
 * The process and all that it started, at whatever remove. Looks at every process of the machine, some milliseconds: for
 * once in an engine's life, not for every reading.
 */
export function treeOf(pid: number): readonly number[] {
  const tree = new Set([pid])
  const parents = processIds().map((id) => [id, parentOf(id)] as const)
  for (let before = 0; before !== tree.size; ) {
    before = tree.size
    for (const [id, parent] of parents) if (parent !== undefined && tree.has(parent)) tree.add(id)
  }
  return [...tree]
}

function processIds(): readonly number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
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

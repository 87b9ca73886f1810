import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The control group that bounds our memory and that of our engines. */
export interface MemoryGroup {
  readonly limitBytes: number
  /** Without what the system would give back when asked: pages of files, also those that are mapped, as models' are. */
  readonly usedBytes: number
  /** Percent of the last ten seconds in which some process of the group waited for memory. */
  readonly pressure: number | undefined
}

/**
 * The tightest of the groups that we are in; undefined where none is bounded. Version 2 is looked at from our own group
 * up, since a service of systemd is bounded in its own; of version 1 only what a container sees as the root.
 */
export function memoryGroup(root = '/'): MemoryGroup | undefined {
  const folders = [...ownGroups(root), join(root, 'sys/fs/cgroup/memory')]
  const groups = folders.map(groupAt).filter((group) => group !== undefined)
  return groups.reduce<MemoryGroup | undefined>(
    (tightest, group) => (tightest && tightest.limitBytes <= group.limitBytes ? tightest : group),
    undefined,
  )
}

/** Cores that we may use: a quota of processor time is less than the cores that can be seen. */
export function coresOf(availableCores: number, root = '/'): number {
  const quotas = ownGroups(root).map((folder) => (read(join(folder, 'cpu.max')) ?? '').split(' '))
  const old = join(root, 'sys/fs/cgroup/cpu')
  quotas.push([read(join(old, 'cpu.cfs_quota_us')) ?? '', read(join(old, 'cpu.cfs_period_us')) ?? ''])
  const cores = quotas.map(([quota, period]) => Math.ceil(Number(quota) / Number(period)))
  // Without a bound the one says `max`, and the other -1.
  return Math.max(1, Math.min(availableCores, ...cores.filter((one) => one > 0)))
}

/** Folders of the groups of version 2 that we are in, from our own up to the root. */
function ownGroups(root: string): readonly string[] {
  const own = /^0::(\/.*)$/m.exec(read(join(root, 'proc/self/cgroup')) ?? '')?.[1] ?? '/'
  const paths = [own]
  for (let path = own; path !== '/'; path = dirname(path)) paths.push(dirname(path))
  return paths.map((path) => join(root, 'sys/fs/cgroup', path))
}

/** What a group of version 1 says when it has no limit is nearly 2^63. */
const UNBOUNDED_BYTES = 2 ** 60

function groupAt(folder: string): MemoryGroup | undefined {
  const number = (...files: string[]) =>
    files.map((file) => Number(read(join(folder, file)))).find(Number.isFinite)
  const limitBytes = number('memory.max', 'memory.limit_in_bytes')
  const currentBytes = number('memory.current', 'memory.usage_in_bytes')
  if (!limitBytes || limitBytes > UNBOUNDED_BYTES || currentBytes === undefined) return undefined
  const stat = read(join(folder, 'memory.stat')) ?? ''
  // Shared memory is in neither of them. MemAvailable counts alike for the whole machine.
  const fileBytes = statBytes(stat, 'inactive_file') + statBytes(stat, 'active_file')
  return {
    limitBytes,
    usedBytes: Math.max(0, currentBytes - fileBytes),
    pressure: pressureIn(read(join(folder, 'memory.pressure'))),
  }
}

/** Version 1 counts without the groups below, unless by the name with `total_`. */
function statBytes(stat: string, name: string): number {
  const found =
    new RegExp(`^total_${name} (\\d+)$`, 'm').exec(stat) ?? new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)
  return Number(found?.[1] ?? 0)
}

/** From a file of pressure stall information: the share `some avg10`, in percent. */
export function pressureIn(text: string | undefined): number | undefined {
  const percent = /^some avg10=([\d.]+)/m.exec(text ?? '')?.[1]
  return percent === undefined ? undefined : Number(percent)
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

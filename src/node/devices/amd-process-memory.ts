import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Bytes of a card's own memory that a process holds, from what the kernel says of its open files (drm-usage-stats of
 * Linux); undefined where it says nothing. A card that is open several times by one client is counted once.
 */
export function amdBytesOf(pid: number, pciAddress: string | undefined, proc = '/proc'): number | undefined {
  const folder = join(proc, String(pid), 'fdinfo')
  const clients = new Map<string, number>()
  for (const name of namesIn(folder)) {
    const info = read(join(folder, name))
    if (!info.includes('drm-memory-vram')) continue
    const field = (key: string) => new RegExp(`^${key}:\\s*(\\S+)`, 'm').exec(info)?.[1]
    if (pciAddress !== undefined && field('drm-pdev') !== pciAddress) continue
    clients.set(field('drm-client-id') ?? name, 1024 * Number(field('drm-memory-vram')))
  }
  return clients.size === 0 ? undefined : [...clients.values()].reduce((sum, bytes) => sum + bytes, 0)
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

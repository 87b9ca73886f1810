import { readFileSync } from 'node:fs'

/** Of the machine; a container has the same file as its host. */
const PRESSURE = '/proc/pressure/memory'

/**
 * Share of the last 10 s in which something waited for memory, 0 to 1, as Linux says (PSI, "some avg10"); undefined where
 * it does not. The kernel answers from memory, so that nothing waits for this.
 */
export function memoryPressure(path = PRESSURE): number | undefined {
  try {
    const percent = Number(/^some avg10=(\d+(?:\.\d+)?)/m.exec(readFileSync(path, 'utf8'))?.[1])
    return Number.isFinite(percent) ? percent / 100 : undefined
  } catch {
    // Other systems have no such file, and a kernel may be built or told not to count.
    return undefined
  }
}

import type { DeviceReport } from '../../contracts/node.ts'

/** Changes of memory below this are within what is reserved for errors. */
const BYTES_MIN = 64 * 2 ** 20

/** Whether the pool would decide otherwise by the new reports: what can be had of a device, or whether it may be used. */
export function differsEnough(before: readonly DeviceReport[], now: readonly DeviceReport[]): boolean {
  if (before.length !== now.length) return true
  return now.some((device) => {
    const old = before.find(({ id }) => id === device.id)
    if (!old || old.health !== device.health || old.clique !== device.clique) return true
    const freeBytes = device.totalBytes - device.foreignBytes
    return Math.abs(old.totalBytes - old.foreignBytes - freeBytes) >= BYTES_MIN
  })
}

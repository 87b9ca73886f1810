/** The name under which everything of a tenant is invalidated. */
export const ALL = 'all'

export function modelName(model: string): string {
  return `model:${model}`
}

export function tagName(tag: string): string {
  return `tag:${tag}`
}

/** Names kept per tenant; beyond it the oldest are forgotten, together with every answer that is as old as they are. */
const NAMES_MAX = 1_024

/**
 * What was invalidated, and when. A tenant has an epoch that each invalidation raises; an answer carries the epoch in
 * which its making began, and is good while none of its names was invalidated in a later one. So an answer that was on
 * its way during an invalidation is never taken for new, and nobody has to find the answers of a name.
 */
export class Invalidations {
  private readonly tenants = new Map<string, Tenant>()

  epoch(tenant: string): number {
    return this.tenants.get(tenant)?.epoch ?? 0
  }

  /** Whether an answer of that epoch with these names may still be given. */
  isCurrent(tenant: string, names: readonly string[], epoch: number): boolean {
    const known = this.tenants.get(tenant)
    if (!known) return true
    if (epoch < known.floor) return false
    return epoch >= (known.names.get(ALL) ?? 0) && names.every((one) => epoch >= (known.names.get(one) ?? 0))
  }

  /** Invalidates these names from this epoch on, by default the next one. Returns the epoch. */
  invalidate(tenant: string, names: readonly string[], epoch = this.epoch(tenant) + 1): number {
    const known = this.of(tenant)
    known.epoch = Math.max(known.epoch, epoch)
    for (const name of names) {
      const before = known.names.get(name) ?? 0
      known.names.delete(name)
      known.names.set(name, Math.max(before, epoch))
    }
    forgetOldest(known)
    return known.epoch
  }

  /** Nothing whose making began before this epoch is to be trusted. */
  distrust(tenant: string, epoch: number): void {
    const known = this.of(tenant)
    known.epoch = Math.max(known.epoch, epoch)
    known.floor = Math.max(known.floor, epoch)
  }

  private of(tenant: string): Tenant {
    const present = this.tenants.get(tenant)
    if (present) return present
    const created: Tenant = { epoch: 0, floor: 0, names: new Map() }
    this.tenants.set(tenant, created)
    return created
  }
}

interface Tenant {
  epoch: number
  /** Answers from before it are not good, whatever their names. */
  floor: number
  /** The epoch of the last invalidation of each name; in the order of those. */
  readonly names: Map<string, number>
}

function forgetOldest(tenant: Tenant): void {
  for (const [name, epoch] of tenant.names) {
    if (tenant.names.size <= NAMES_MAX) return
    tenant.names.delete(name)
    tenant.floor = Math.max(tenant.floor, epoch)
  }
}

import type { Clock } from '../core/clock.ts'

/** How long it is known of a stream whose time is over that there was one. */
export const FORGOTTEN_AFTER_MS = 600_000

/** Who streams belonged to whose time is over, so that `expired` differs from `not_found`. */
export class Tombstones {
  private readonly tenants = new Map<string, string>()

  constructor(private readonly clock: Clock) {}

  add(id: string, tenant: string): void {
    this.tenants.set(id, tenant)
    this.clock.schedule(FORGOTTEN_AFTER_MS, () => this.tenants.delete(id))
  }

  reason(tenant: string, id: string): 'expired' | 'not_found' {
    return this.tenants.get(id) === tenant ? 'expired' : 'not_found'
  }
}

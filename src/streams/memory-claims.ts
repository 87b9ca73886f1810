import type { Clock } from '../core/clock.ts'

/** How long a name stands for what it was claimed for. */
export const CLAIM_MS = 600_000

/** Names that were claimed at this gateway: whoever comes first gets their own id, others that one. */
export class MemoryClaims {
  private readonly ids = new Map<string, { readonly id: string; readonly cancel: () => void }>()

  constructor(private readonly clock: Clock) {}

  find(name: string): string | undefined {
    return this.ids.get(name)?.id
  }

  claim(name: string, id: string): string {
    const known = this.find(name)
    if (known !== undefined) return known
    this.ids.set(name, { id, cancel: this.clock.schedule(CLAIM_MS, () => this.ids.delete(name)) })
    return id
  }

  release(name: string): void {
    this.ids.get(name)?.cancel()
    this.ids.delete(name)
  }
}

/** The tenant is part of every name. */
export function claimName(tenant: string, name: string): string {
  return `${tenant}/${name}`
}

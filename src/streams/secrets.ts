import type { Clock } from '../core/clock.ts'

/** Values that can be taken once, and end by themselves. */
export interface OneTimeSecrets {
  put(name: string, value: string, ttlMs: number): Promise<void>
  /** Whoever takes it first has it; undefined: it was taken, is over, or never was. */
  take(name: string): Promise<string | undefined>
}

/** Those of a gateway that is the only one. */
export class MemorySecrets implements OneTimeSecrets {
  private readonly values = new Map<string, { readonly value: string; readonly forget: () => void }>()

  constructor(private readonly clock: Clock) {}

  async put(name: string, value: string, ttlMs: number): Promise<void> {
    this.values.get(name)?.forget()
    const forget = this.clock.schedule(ttlMs, () => this.values.delete(name))
    this.values.set(name, { value, forget })
  }

  async take(name: string): Promise<string | undefined> {
    const kept = this.values.get(name)
    if (!kept) return undefined
    kept.forget()
    this.values.delete(name)
    return kept.value
  }
}

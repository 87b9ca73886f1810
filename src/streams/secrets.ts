import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { RedisClient } from '../redis/connection.ts'
import { withinDeadline } from '../redis/deadline.ts'

/** Values that are good once, and for a while. */
export interface OneTimeSecrets {
  /** @throws HelixError `storage_unavailable` */
  put(name: string, value: string, ttlMs: number): Promise<void>
  /** @returns undefined when there is none, or it was taken. @throws HelixError `storage_unavailable` */
  take(name: string): Promise<string | undefined>
}

/** Of a gateway that is the only one. */
export class MemorySecrets implements OneTimeSecrets {
  private readonly kept = new Map<string, { readonly value: string; readonly cancel: () => void }>()

  constructor(private readonly clock: Clock) {}

  async put(name: string, value: string, ttlMs: number): Promise<void> {
    this.kept.get(name)?.cancel()
    this.kept.set(name, { value, cancel: this.clock.schedule(ttlMs, () => this.kept.delete(name)) })
  }

  async take(name: string): Promise<string | undefined> {
    const found = this.kept.get(name)
    if (!found) return undefined
    found.cancel()
    this.kept.delete(name)
    return found.value
  }
}

export interface RedisSecretsParts {
  readonly client: RedisClient
  /** Begins every key. */
  readonly prefix: string
  readonly clock: Clock
}

/** A person waits, and no generation does. */
const TIMEOUT_MS = 1_000

/** Of several gateways: whichever is asked, one gets it. */
export class RedisSecrets implements OneTimeSecrets {
  constructor(private readonly parts: RedisSecretsParts) {}

  async put(name: string, value: string, ttlMs: number): Promise<void> {
    await this.within(this.parts.client.set(this.key(name), value, 'PX', ttlMs))
  }

  async take(name: string): Promise<string | undefined> {
    return (await this.within(this.parts.client.getdel(this.key(name)))) ?? undefined
  }

  /** @throws HelixError `storage_unavailable` */
  private async within<Result>(work: Promise<Result>): Promise<Result> {
    try {
      return await withinDeadline(this.parts.clock, TIMEOUT_MS, work)
    } catch (cause) {
      const text = 'A store that this needs does not answer. Try again shortly.'
      throw new HelixError('storage_unavailable', text, { cause, internal: `redis: ${String(cause)}` })
    }
  }

  private key(name: string): string {
    return `${this.parts.prefix}:secret:${name}`
  }
}

import type { Clock } from '../core/clock.ts'
import type { CacheMetrics } from './cache-metrics.ts'
import type { CachedAnswer } from './cached-answer.ts'
import { usefulUntilMs } from './cached-answer.ts'
import type { Invalidations } from './invalidations.ts'
import type { MemoryLayer } from './memory-layer.ts'

/** Answers that several gateways share. It never fails: what it cannot do is not done. */
export interface SharedLayer {
  /** Undefined also where it cannot be asked. What it gives is still to be checked. */
  get(tenant: string, key: string): Promise<CachedAnswer | undefined>
  set(tenant: string, key: string, answer: CachedAnswer): Promise<void>
  /** Tells all gateways. @throws HelixError `storage_unavailable` when they may not all have heard */
  invalidate(tenant: string, names: readonly string[]): Promise<void>
  stop(): Promise<void>
}

export interface LayeredCacheParts {
  readonly memory: MemoryLayer
  readonly shared: SharedLayer | undefined
  readonly invalidations: Invalidations
  readonly clock: Clock
  readonly metrics: CacheMetrics
}

/**
 * Answers, first in memory, then where all gateways look. Every reading checks that the answer is the tenant's own, that
 * nothing of it was invalidated and that its time is not over.
 */
export class LayeredCache {
  constructor(private readonly parts: LayeredCacheParts) {}

  /** Other gateways find what is kept here. */
  get sharesAnswers(): boolean {
    return this.parts.shared !== undefined
  }

  /** The tenant's epoch, to be asked for when the making of an answer begins. */
  epoch(tenant: string): number {
    return this.parts.invalidations.epoch(tenant)
  }

  /** Whether nothing of these names was invalidated since that epoch. */
  isCurrent(tenant: string, names: readonly string[], epoch: number): boolean {
    return this.parts.invalidations.isCurrent(tenant, names, epoch)
  }

  /** An answer from memory costs no promise. */
  get(tenant: string, key: string): CachedAnswer | undefined | Promise<CachedAnswer | undefined> {
    const { memory, shared } = this.parts
    const near = memory.get(key)
    if (near) {
      if (this.isGood(tenant, near)) return near
      memory.delete(key)
    }
    return shared ? this.fetch(shared, tenant, key) : undefined
  }

  /** Keeps it, unless it was invalidated while it was made. */
  set(tenant: string, key: string, answer: CachedAnswer): void {
    const { memory, shared, metrics } = this.parts
    if (!this.isGood(tenant, answer)) return
    memory.set(key, answer)
    metrics.holds(memory.entries, memory.bytes)
    void shared?.set(tenant, key, answer)
  }

  /** @throws HelixError `storage_unavailable` when other gateways may not have heard */
  async invalidate(tenant: string, names: readonly string[]): Promise<void> {
    const { invalidations, shared } = this.parts
    if (!shared) invalidations.invalidate(tenant, names)
    else await shared.invalidate(tenant, names)
  }

  stats(): { readonly entries: number; readonly bytes: number } {
    const { memory } = this.parts
    return { entries: memory.entries, bytes: memory.bytes }
  }

  async stop(): Promise<void> {
    await this.parts.shared?.stop()
  }

  private async fetch(shared: SharedLayer, tenant: string, key: string): Promise<CachedAnswer | undefined> {
    const { memory, metrics } = this.parts
    const far = await shared.get(tenant, key)
    const good = far !== undefined && this.isGood(tenant, far)
    metrics.request('redis', good ? 'hit' : 'miss')
    if (!good) return undefined
    memory.set(key, far)
    metrics.holds(memory.entries, memory.bytes)
    return far
  }

  private isGood(tenant: string, answer: CachedAnswer): boolean {
    const { invalidations, clock, metrics } = this.parts
    if (answer.tenant !== tenant) {
      metrics.request('memory', 'refused')
      return false
    }
    if (usefulUntilMs(answer) <= clock.now()) return false
    return invalidations.isCurrent(tenant, answer.names, answer.epoch)
  }
}

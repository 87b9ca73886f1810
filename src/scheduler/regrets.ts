import type { Decision } from './decide.ts'
import type { SchedulerEvent } from './events.ts'
import type { EvictionReason } from './records.ts'
import type { ClusterState } from './state.ts'

/**
 * An eviction is regretted when the model is asked for again before it has been away for so many times what its load
 * takes. With fewer, more than a tenth of the time from one use to the next goes into loading: whatever lay in its memory
 * meanwhile had to be asked for as often to be worth it. (The break-even rule of ski rental, with a tenth for a rent.)
 */
const AWAY_LOADS = 10

/** What was not meant to stay, or was sent away by somebody, is no misjudgement. */
const JUDGED: ReadonlySet<EvictionReason> = new Set(['room', 'idle', 'pressure'])

/** Watches decisions for evictions that were a mistake, as what came after them shows. Nothing is decided by it. */
export class EvictionRegrets {
  /** By model, when its last instance was told to go; only those of which it is not known yet. */
  private readonly evictedMs = new Map<string, number>()

  /** How many evictions were found to be a mistake by this: 0 or 1. */
  decided({ state, records }: Decision, event: SchedulerEvent, nowMs: number): number {
    const isRegretted = event.kind === 'model-wanted' && this.wanted(event.spec.name, state, nowMs)
    for (const record of records) {
      // However it comes back, the next time that it is asked for tells nothing of this eviction any more.
      if (record.kind === 'placed') this.evictedMs.delete(record.model)
      if (record.kind !== 'evicted') continue
      if (JUDGED.has(record.reason) && !isPresent(state, record.model))
        this.evictedMs.set(record.model, nowMs)
      else this.evictedMs.delete(record.model)
    }
    if (records.length > 0) this.forgetOld(state, nowMs)
    return isRegretted ? 1 : 0
  }

  private wanted(model: string, state: ClusterState, nowMs: number): boolean {
    const sinceMs = this.evictedMs.get(model)
    this.evictedMs.delete(model)
    return sinceMs !== undefined && nowMs - sinceMs < paidMs(state, model)
  }

  /** Models may be many, and those that nobody asks for never come back. */
  private forgetOld(state: ClusterState, nowMs: number): void {
    for (const [model, sinceMs] of this.evictedMs)
      if (nowMs - sinceMs >= paidMs(state, model)) this.evictedMs.delete(model)
  }
}

/** How long it must be away for its eviction to have been right. */
function paidMs({ models }: ClusterState, model: string): number {
  return AWAY_LOADS * (models[model]?.spec.loadMs ?? 0)
}

function isPresent({ instances }: ClusterState, model: string): boolean {
  return instances.some(
    ({ spec, state }) => spec.name === model && (state === 'loading' || state === 'ready'),
  )
}

import type { Purpose } from './state.ts'

/** Why something was decided, for the operator: kept beside the state, never read by a decision. */
export type DecisionRecord =
  | {
      readonly kind: 'placed'
      readonly model: string
      readonly instanceId: string
      readonly purpose: Purpose
      readonly devices: readonly string[]
      /** In words: `least leftover, 3.1 GiB`. */
      readonly because: string
      readonly candidates: readonly ScoredCandidate[]
    }
  | {
      readonly kind: 'evicted'
      readonly model: string
      readonly instanceId: string
      readonly reason: EvictionReason
      readonly because: string
    }
  | { readonly kind: 'waits'; readonly model: string; readonly because: string }
  | { readonly kind: 'refused'; readonly model: string; readonly because: string }
  | { readonly kind: 'moved'; readonly model: string; readonly instanceId: string; readonly because: string }

/** Labels of `helixflow_model_evictions_total`. */
export type EvictionReason = 'room' | 'idle' | 'asked' | 'moved' | 'scaled-down' | 'pressure' | 'overdue'

/** One place that was looked at, the best first. The cost is in seconds where the strategy knows one. */
export interface ScoredCandidate {
  readonly devices: readonly string[]
  readonly cost: number | undefined
  /** The parts of the cost by name, or why it was not taken. */
  readonly parts: Readonly<Record<string, number>>
}

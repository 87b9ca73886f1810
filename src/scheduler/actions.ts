import type { ModelSpec, Purpose, Share } from './state.ts'

/** What is to be done. Idempotent by instance id. */
export type SchedulerAction =
  | {
      readonly kind: 'load'
      readonly instanceId: string
      readonly spec: ModelSpec
      readonly nodeId: string
      readonly shares: readonly Share[]
      readonly purpose: Purpose
    }
  | { readonly kind: 'unload'; readonly instanceId: string; readonly nodeId: string }
  /** Read the model's file, so that a later load finds it in memory. */
  | { readonly kind: 'cache-file'; readonly model: string; readonly nodeId: string }
  | { readonly kind: 'refuse'; readonly model: string; readonly refusal: Refusal }
  | { readonly kind: 'quarantine'; readonly model: string; readonly crashes: number }

/** `overdue`: it did not become ready in time. `unloaded`: the operator unloaded it while it was waited for. */
export type Refusal =
  | { readonly kind: 'overdue' }
  | { readonly kind: 'unloaded' }
  | { readonly kind: 'no-device' }
  | { readonly kind: 'larger-than-any-device'; readonly neededBytes: number; readonly largestBytes: number }

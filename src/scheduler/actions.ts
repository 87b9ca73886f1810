import type { ModelSpec } from './state.ts'

/** What is to be done. Idempotent by instance id. */
export type SchedulerAction =
  | {
      readonly kind: 'load'
      readonly instanceId: string
      readonly spec: ModelSpec
      readonly deviceId: string
    }
  | { readonly kind: 'unload'; readonly instanceId: string }
  | { readonly kind: 'refuse'; readonly model: string; readonly refusal: Refusal }
  | { readonly kind: 'quarantine'; readonly model: string; readonly crashes: number }

export type Refusal =
  | { readonly kind: 'no-device' }
  | { readonly kind: 'larger-than-any-device'; readonly neededBytes: number; readonly largestBytes: number }

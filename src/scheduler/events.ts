import type { ModelSpec } from './state.ts'

/** What happened. Everything that changes the state comes in as one of these. */
export type SchedulerEvent =
  | { readonly kind: 'model-wanted'; readonly spec: ModelSpec }
  /** The last request that waited for the model has left. */
  | { readonly kind: 'model-unwanted'; readonly model: string }
  | { readonly kind: 'instance-ready'; readonly instanceId: string }
  /** The instance is gone: it never became ready, died, or was stopped as told. */
  | { readonly kind: 'instance-gone'; readonly instanceId: string; readonly why: GoneReason }
  | { readonly kind: 'use-changed'; readonly instanceId: string; readonly inFlight: number }
  | { readonly kind: 'unload-asked'; readonly model: string }
  /** The operator takes a model out of quarantine. */
  | { readonly kind: 'crashes-forgiven'; readonly model: string }
  | { readonly kind: 'time-passed' }

/**
 * `crashed`: the engine died by itself and the model file may be the cause. `failed`: it could not be started for
 * a reason that a repeat will not cure. `killed`: somebody else ended it. `stopped`: as told.
 */
export type GoneReason = 'crashed' | 'failed' | 'killed' | 'stopped'

import type { Device, ModelSpec, Share } from './state.ts'

/** What happened. Everything that changes the state comes in as one of these. */
export type SchedulerEvent =
  | { readonly kind: 'model-wanted'; readonly spec: ModelSpec }
  /** The last request that waited for the model has left. */
  | { readonly kind: 'model-unwanted'; readonly model: string }
  /** @param shares what it takes, as measured; undefined where it cannot be */
  | { readonly kind: 'instance-ready'; readonly instanceId: string; readonly shares?: readonly Share[] }
  /** The instance is gone: it never became ready, died, or was stopped as told. */
  | { readonly kind: 'instance-gone'; readonly instanceId: string; readonly why: GoneReason }
  | { readonly kind: 'use-changed'; readonly instanceId: string; readonly inFlight: number }
  /** What was asked of models since the last such event, about once a second. */
  | { readonly kind: 'demand'; readonly calendarMs: number; readonly models: readonly ModelDemand[] }
  /** All devices of a node as they are now; also how a node joins. */
  | { readonly kind: 'devices-changed'; readonly nodeId: string; readonly devices: readonly Device[] }
  | { readonly kind: 'node-lost'; readonly nodeId: string }
  /** A node came that runs this already: it outlived its pool, or its connection. */
  | { readonly kind: 'instance-adopted'; readonly instance: AdoptedInstance }
  | { readonly kind: 'files-cached'; readonly nodeId: string; readonly models: readonly string[] }
  /** Every model there is, with its settings: what minimum, forecast and replicas are decided for. */
  | { readonly kind: 'models-known'; readonly specs: readonly ModelSpec[] }
  | { readonly kind: 'unload-asked'; readonly model: string }
  /** The operator wants a hole for that model, whatever it costs. */
  | { readonly kind: 'defragment-asked'; readonly spec: ModelSpec }
  /** The operator takes a model out of quarantine. */
  | { readonly kind: 'crashes-forgiven'; readonly model: string }
  | { readonly kind: 'time-passed' }

/**
 * `crashed`: the engine died by itself and the model file may be the cause. `failed`: it could not be started for
 * a reason that a repeat will not cure. `killed`: somebody else ended it. `stopped`: as told.
 */
export type GoneReason = 'crashed' | 'failed' | 'killed' | 'stopped'

/** Of one model, at all gateways together. */
export interface ModelDemand {
  readonly model: string
  /** Requests that came since the last report. */
  readonly arrivals: number
  readonly inFlight: number
  readonly queued: number
}

export interface AdoptedInstance {
  readonly id: string
  readonly spec: ModelSpec
  readonly nodeId: string
  readonly shares: readonly Share[]
}

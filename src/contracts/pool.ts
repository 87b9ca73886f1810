import type { HelixError } from '../core/errors.ts'
import type { Span } from '../core/tracing.ts'

/**
 * What the inference pool offers. It decides where models live and never carries a token: the gateway streams
 * straight from the replica that it is given.
 */
export interface PoolClient {
  listModels(): Promise<readonly ModelView[]>
  /** @throws HelixError `model_not_found` */
  showModel(name: string): Promise<ModelView>
  /**
   * A text that is another one when the same request may be answered in another way: other weights, another template
   * or context, another upstream. Of what would be loaded now; a replica that runs has its own.
   * @throws HelixError `model_not_found`
   */
  revision(model: string): Promise<string>

  /**
   * Returns once a replica of the model is ready, loading one if it must. The replica itself comes through
   * `watchReplicas`, before this promise resolves.
   * @throws HelixError `model_not_found`, `model_does_not_fit`, `model_quarantined`, `insufficient_memory`,
   *   `engine_missing`, `engine_failed`; the signal's reason when it aborts first
   * @param span of whoever waits
   */
  acquire(model: string, signal: AbortSignal, span?: Span): Promise<void>
  /** What a request for this model is waiting for at the moment. */
  explainWait(model: string): Promise<WaitView>
  /**
   * Loads on behalf of the operator, who thereby also takes it out of quarantine. Returns when it is ready.
   * @throws HelixError as `acquire`
   */
  load(model: string, signal: AbortSignal): Promise<ModelView>
  /** Unloads when the requests in flight have ended; returns when it is gone. @throws HelixError `model_not_found` */
  unload(model: string, signal: AbortSignal): Promise<ModelView>

  /** Calls back at once with the present table and again after each change. Returns what ends the watch. */
  watchReplicas(listener: (replicas: readonly Replica[]) => void): () => void
  /** Tells the pool of each change of the slots in use, for keep-alive, draining, and shares of several gateways. */
  reportUse(replicaId: string, inFlight: number): void
  /**
   * What this gateway was asked for since it last said so, about once a second: by it is decided what is loaded ahead
   * and what is loaded twice.
   */
  reportDemand(demand: readonly ModelDemand[]): void
  /** What would be done for the model now, and what was done lately, with the reasons. @throws HelixError `model_not_found` */
  explain(model: string): Promise<Explanation>
  /** Every device with what lies on it. */
  listDevices(): Promise<readonly DeviceView[]>
  /** The moves that would open a hole for the model. @throws HelixError `model_not_found` */
  planMoves(model: string): Promise<MoveReport>
  /** Does as `planMoves` says. Returns when the moves have ended. @throws HelixError as `planMoves` */
  defragment(model: string, signal: AbortSignal): Promise<MoveReport>
  /** What the scheduler met lately: the state that it began with, and all events since. For the operator. */
  journal(): Promise<object>
  /** Why nothing can be served, or undefined when something can. For `/readyz`. */
  unavailability(): Promise<HelixError | undefined>
}

export interface WaitView {
  readonly code: 'model_loading' | 'insufficient_memory'
  /** In words for the caller: `loading smollm2 since 4 s`. */
  readonly reason: string
  /** The pool's guess of what is left; undefined when it has none. */
  readonly remainingMs: number | undefined
}

export interface ModelDemand {
  readonly model: string
  /** Requests that came since the last report. */
  readonly arrivals: number
  readonly inFlight: number
  readonly queued: number
}

export interface Explanation {
  readonly model: string
  /** In words: `ready on GPU-1a2b since 40 s; another replica would go to GPU-3c4d`. */
  readonly summary: string
  /** Where it would be placed, the best first; empty where there is no room. */
  readonly candidates: readonly PlaceView[]
  /** What would be unloaded to make room. */
  readonly evictions: readonly string[]
  /** The latest decisions about it, the newest first. */
  readonly decisions: readonly DecisionView[]
}

export interface PlaceView {
  readonly devices: readonly string[]
  /** In seconds, where the strategy knows one. */
  readonly cost: number | undefined
  readonly parts: Readonly<Record<string, number>>
}

export interface DecisionView {
  readonly atMs: number
  readonly kind: string
  readonly instance: string | undefined
  readonly because: string
}

export interface DeviceView {
  readonly id: string
  readonly node: string
  readonly kind: string
  readonly name: string
  readonly health: string
  readonly reason: string | undefined
  readonly totalBytes: number
  readonly foreignBytes: number
  readonly freeBytes: number
  readonly utilization: number | undefined
  readonly temperatureCelsius: number | undefined
  readonly powerWatts: number | undefined
  readonly instances: readonly {
    readonly id: string
    readonly model: string
    readonly state: string
    readonly bytes: number
  }[]
}

export interface MoveReport {
  readonly model: string
  /** In words why there are no moves, or what they gain. */
  readonly because: string
  readonly moves: readonly {
    readonly instance: string
    readonly model: string
    readonly from: readonly string[]
    readonly to: readonly string[]
    readonly kind: 'copy-first' | 'drain-first'
  }[]
}

/** One running engine with one model, ready to take requests. */
export interface Replica {
  readonly id: string
  readonly model: string
  /** What the engine itself calls the model. */
  readonly engineModel: string
  readonly engine: EngineKind
  readonly address: EngineAddress
  /** Requests that it works on at the same time. */
  readonly slots: number
  /** Tokens of prompt and answer together, for one request; undefined where the engine does not say. */
  readonly contextLength: number | undefined
  /** Whether the model's chat template knows tools; undefined where the engine does not say. */
  readonly supportsTools: boolean | undefined
  /** Whether it goes on with an answer that was begun elsewhere, when the last message is that beginning. */
  readonly continues: boolean
  /** Of the requests that several servers of others could take, this one's share; 1 where nothing is said. */
  readonly weight?: number
  /** Asked only while no other replica of the model may be. */
  readonly fallback?: boolean
  /** Tokens that the model knows; undefined where the engine does not say. */
  readonly vocabularySize: number | undefined
  /** What it makes its answers of; see `PoolClient.revision`. */
  readonly revision: string
}

/** Engines that nodes run. */
export type LocalEngineKind = 'llama-server' | 'vllm' | 'sglang'

export type EngineKind = LocalEngineKind | 'upstream'

export interface EngineAddress {
  /** `http://localhost` for a Unix socket, else scheme, host and port. May end in a path prefix. */
  readonly url: string
  readonly socketPath: string | undefined
  readonly apiKey: string | undefined
  /**
   * The name under which a relay, at `url`, leads to the engine: it goes into the TLS handshake, and both sides show
   * their certificates. Undefined: the engine itself is at `url` or `socketPath`.
   */
  readonly serverName?: string | undefined
}

export type ModelState = 'available' | 'loading' | 'ready' | 'unloading' | 'failed' | 'quarantined'

export interface ModelView {
  readonly name: string
  readonly state: ModelState
  readonly engine: EngineKind
  /** Why it is in state failed or quarantined. */
  readonly reason: string | undefined
  readonly sizeBytes: number | undefined
  readonly memoryBytes: number | undefined
  readonly contextLength: number | undefined
  readonly quantization: string | undefined
  readonly architecture: string | undefined
  readonly source: string | undefined
  readonly sha256: string | undefined
  readonly addedAtMs: number
  readonly inFlight: number
  /** Instances that are ready. */
  readonly replicas: number
  /** Where its instances lie. */
  readonly devices: readonly string[]
  /** When the keep-alive ends and it is unloaded; undefined while it is busy or not loaded. */
  readonly unloadsAtMs: number | undefined
}

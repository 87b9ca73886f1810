import type { HelixError } from '../core/errors.ts'

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
   */
  acquire(model: string, signal: AbortSignal): Promise<void>
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
  /** Tells the pool that a replica went from idle to busy or back, for keep-alive and draining. */
  reportUse(replicaId: string, inFlight: number): void
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
  /** Tokens that the model knows; undefined where the engine does not say. */
  readonly vocabularySize: number | undefined
  /** What it makes its answers of; see `PoolClient.revision`. */
  readonly revision: string
}

export type EngineKind = 'llama-server' | 'upstream'

export interface EngineAddress {
  /** `http://localhost` for a Unix socket, else scheme, host and port. May end in a path prefix. */
  readonly url: string
  readonly socketPath: string | undefined
  readonly apiKey: string | undefined
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
  /** When the keep-alive ends and it is unloaded; undefined while it is busy or not loaded. */
  readonly unloadsAtMs: number | undefined
}

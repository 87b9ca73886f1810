import type { HelixError } from '../core/errors.ts'
import type { EngineAddress } from './pool.ts'

/**
 * What a node offers to the pool: the model files and the engine processes of one machine. It does as told and
 * reports what happens; what should happen is the pool's to decide.
 */
export interface NodeClient {
  devices(): Promise<readonly DeviceView[]>
  listModels(): Promise<readonly ModelFile[]>
  /** Memory that one instance will need. @throws HelixError `engine_missing`, `model_invalid` */
  estimate(model: string, shape: InstanceShape): Promise<number>
  /** Starts an engine; returns once it is ready to generate or is known not to come. */
  start(request: StartRequest): Promise<StartOutcome>
  /** Ends the engine, also one that is still starting. Returns when its process is gone. */
  stop(instanceId: string): Promise<void>
  /** Calls back for each ready engine that ends without being told to. Returns what ends the watch. */
  watchExits(listener: (exit: EngineExit) => void): () => void
  quarantine(model: string, reason: string): Promise<void>
  release(model: string): Promise<void>
  /** Why no engine can run here; undefined when one can. */
  engineProblem(): HelixError | undefined
}

export interface DeviceView {
  readonly id: string
  readonly kind: 'cpu'
  readonly totalBytes: number
}

export interface ModelFile {
  readonly name: string
  readonly sizeBytes: number
  readonly sha256: string | undefined
  /** Another text for every other content that the file had. */
  readonly revision: string
  readonly source: string | undefined
  readonly addedAtMs: number
  readonly architecture: string | undefined
  readonly quantization: string | undefined
  /** Tokens that the model was trained for. */
  readonly trainedContextLength: number | undefined
  readonly quarantinedBecause: string | undefined
  /** Why the file cannot be used at all. */
  readonly invalidBecause: string | undefined
}

/** What an instance is started with; a change needs another instance. */
export interface InstanceShape {
  readonly slots: number
  /** Tokens per slot. */
  readonly contextLength: number
  readonly chatTemplate: string | undefined
}

export interface StartRequest {
  readonly instanceId: string
  readonly model: string
  readonly shape: InstanceShape
}

export type StartOutcome =
  | { readonly kind: 'ready'; readonly engine: StartedEngine }
  | {
      readonly kind: 'gone'
      readonly why: 'crashed' | 'failed' | 'killed' | 'stopped'
      readonly error: HelixError
    }

export interface StartedEngine {
  readonly address: EngineAddress
  readonly contextLength: number
  readonly supportsTools: boolean
  readonly vocabularySize: number | undefined
  /** Of the file that it loaded; see `ModelFile`. */
  readonly revision: string
}

export interface EngineExit {
  readonly instanceId: string
  readonly why: 'crashed' | 'killed'
  /** For the log and the operator. */
  readonly description: string
}

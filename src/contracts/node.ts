import type { HelixError } from '../core/errors.ts'
import type { Span } from '../core/tracing.ts'
import type { EngineAddress, LocalEngineKind } from './pool.ts'

/**
 * What a node offers to the pool: the model files and the engine processes of one machine. It does as told and
 * reports what happens; what should happen is the pool's to decide.
 */
export interface NodeClient {
  /** The same over restarts of the machine; part of the ids of devices that have none of their own. */
  readonly nodeId: string
  devices(): Promise<readonly DeviceReport[]>
  /** Calls back with all devices when one changed enough to matter, and at least every few seconds. */
  watchDevices(listener: (devices: readonly DeviceReport[]) => void): () => void
  listModels(): Promise<readonly ModelFile[]>
  /**
   * Memory that one instance will need: what the same one took before, else what the engine's own reckoning says and
   * a margin. @throws HelixError `engine_missing`, `model_invalid`
   */
  estimate(model: string, shape: InstanceShape): Promise<MemoryNeed>
  /** Reads the model's file, so that a later load finds it in memory. Returns when it has. */
  cacheFile(model: string): Promise<void>
  /** Engines that run already: they outlived the pool that started them. */
  engines(): Promise<readonly RunningEngineView[]>
  /** Starts an engine; returns once it is ready to generate or is known not to come. @param span of the load */
  start(request: StartRequest, span?: Span): Promise<StartOutcome>
  /** Ends the engine, also one that is still starting. Returns when its devices say that its memory is free. */
  stop(instanceId: string): Promise<void>
  /** Calls back for each ready engine that ends without being told to. Returns what ends the watch. */
  watchExits(listener: (exit: EngineExit) => void): () => void
  quarantine(model: string, reason: string): Promise<void>
  release(model: string): Promise<void>
  /** Why no engine can run here; undefined when one can. */
  engineProblem(): HelixError | undefined
}

export type DeviceKind = 'cuda' | 'rocm' | 'metal' | 'cpu'

/** A card, or the machine's own memory, as it is now. What the device does not tell is undefined. */
export interface DeviceReport {
  /** The card's UUID; of a machine's own memory `<node>/cpu`. */
  readonly id: string
  readonly kind: DeviceKind
  /** Such as `NVIDIA H100 80GB HBM3`. */
  readonly name: string
  /** For models and others; what must stay free is taken off already. */
  readonly totalBytes: number
  /** Taken by processes that are not engines of ours. */
  readonly foreignBytes: number
  /** By all, as the device says. */
  readonly usedBytes: number | undefined
  /** `hot`: too warm, or short of memory beyond what models take, to be given more. `lost`: it no longer answers. */
  readonly health: 'ok' | 'hot' | 'lost'
  /** Why it is hot or lost. */
  readonly reason: string | undefined
  /** Devices of one name reach each other fast. */
  readonly clique: string | undefined
  /** 0 to 1. */
  readonly utilization: number | undefined
  readonly temperatureCelsius: number | undefined
  readonly powerWatts: number | undefined
}

/** Bytes on one device. */
export interface DeviceShare {
  readonly deviceId: string
  readonly bytes: number
}

export interface MemoryNeed {
  /** On one device. */
  readonly memoryBytes: number
  /** The part of it that each device of a split needs whole. */
  readonly perDeviceBytes: number
}

export interface ModelFile {
  readonly name: string
  /** What runs it. */
  readonly engine: LocalEngineKind
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
  /** Whether it lies in the page cache, so that it loads from memory. */
  readonly cached: boolean
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
  /** Undefined: whichever runs this kind of file. */
  readonly engine: LocalEngineKind | undefined
}

export interface StartRequest {
  readonly instanceId: string
  readonly model: string
  readonly shape: InstanceShape
  /** The devices that it may use, and how much of each. */
  readonly shares: readonly DeviceShare[]
}

/** An engine that is ready, as whoever takes the pool over finds it. */
export interface RunningEngineView {
  readonly request: StartRequest
  readonly engine: StartedEngine
}

export type StartOutcome =
  | { readonly kind: 'ready'; readonly engine: StartedEngine }
  | {
      readonly kind: 'gone'
      readonly why: 'crashed' | 'failed' | 'killed' | 'stopped'
      readonly error: HelixError
    }

export interface StartedEngine {
  readonly engine: LocalEngineKind
  readonly address: EngineAddress
  /** What it really takes; undefined where that cannot be measured. */
  readonly shares: readonly DeviceShare[] | undefined
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

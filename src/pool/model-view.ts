import type { InstanceShape, ModelFile } from '../contracts/node.ts'
import type { ModelState, ModelView, Replica } from '../contracts/pool.ts'
import type { Clock } from '../core/clock.ts'
import { idleEndMs } from '../scheduler/decide.ts'
import type { Instance } from '../scheduler/state.ts'
import type { PoolController } from './controller.ts'

/** A model that another server runs; always there, never loaded by us. */
export interface UpstreamModel {
  readonly upstream: string
  readonly replica: Replica
}

export interface FileViewParts {
  readonly controller: PoolController
  readonly clock: Clock
  /** Requests by instance, where there are any. */
  readonly inFlight: ReadonlyMap<string, number>
}

/** A model file with what its instances are doing. Of several, the one that is furthest is told of. */
export function fileView(
  file: ModelFile,
  contextLength: number,
  { controller, clock, inFlight }: FileViewParts,
): ModelView {
  const instances = controller.state.instances.filter(({ spec }) => spec.name === file.name)
  const instance = instances.find(({ state }) => state === 'ready') ?? instances[0]
  const engine = instance && controller.effects.engines.get(instance.id)
  const idleEnd = instance && idleEndMs(instance)
  const isWaiting = controller.state.waiting.some(({ spec }) => spec.name === file.name)
  return {
    name: file.name,
    state: stateOf(file, instance, isWaiting),
    engine: engine?.engine ?? file.engine,
    reason: file.quarantinedBecause ?? file.invalidBecause,
    sizeBytes: file.sizeBytes,
    memoryBytes: instance?.shares.reduce((sum, { bytes }) => sum + bytes, 0),
    contextLength: engine?.contextLength ?? contextLength,
    quantization: file.quantization,
    architecture: file.architecture,
    source: file.source,
    sha256: file.sha256,
    addedAtMs: file.addedAtMs,
    inFlight: instances.reduce((sum, { id }) => sum + (inFlight.get(id) ?? 0), 0),
    replicas: instances.filter(({ state }) => state === 'ready').length,
    devices: instances.flatMap(({ shares }) => shares.map(({ deviceId }) => deviceId)),
    unloadsAtMs: idleEnd === undefined ? undefined : Math.round(clock.now() + idleEnd - clock.monotonic()),
  }
}

export function upstreamView({ upstream, replica }: UpstreamModel, inFlight: number): ModelView {
  return {
    name: replica.model,
    state: 'ready',
    engine: 'upstream',
    reason: undefined,
    sizeBytes: undefined,
    memoryBytes: undefined,
    contextLength: replica.contextLength,
    quantization: undefined,
    architecture: undefined,
    source: `upstream ${upstream}`,
    sha256: undefined,
    addedAtMs: 0,
    inFlight,
    replicas: 1,
    devices: [],
    unloadsAtMs: undefined,
  }
}

/** Slots change how many are answered at a time, not what. */
export function revisionOf(file: string, { contextLength, chatTemplate }: InstanceShape): string {
  return JSON.stringify([file, contextLength, chatTemplate ?? null])
}

function stateOf(file: ModelFile, instance: Instance | undefined, isWaiting: boolean): ModelState {
  if (file.invalidBecause) return 'failed'
  if (file.quarantinedBecause) return 'quarantined'
  if (!instance) return isWaiting ? 'loading' : 'available'
  if (instance.state === 'loading' || instance.state === 'ready') return instance.state
  return 'unloading'
}

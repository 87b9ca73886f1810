import { modelNotFound } from '../contracts/model-not-found.ts'
import type { InstanceShape, ModelFile, NodeClient } from '../contracts/node.ts'
import type {
  DeviceView,
  Explanation,
  ModelDemand,
  ModelState,
  ModelView,
  MoveReport,
  PoolClient,
  Replica,
  WaitView,
} from '../contracts/pool.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { idleEndMs } from '../scheduler/decide.ts'
import type { Instance, ModelSpec } from '../scheduler/state.ts'
import { type PoolController, quarantined } from './controller.ts'
import { listDevices } from './device-list.ts'
import { explain, reportMoves } from './explain.ts'

/** A model that another server runs; always there, never loaded by us. */
export interface UpstreamModel {
  readonly upstream: string
  readonly replica: Replica
}

export interface PoolParts {
  readonly node: NodeClient
  readonly controller: PoolController
  readonly clock: Clock
  readonly upstreams: readonly UpstreamModel[]
  shapeOf(model: string, trainedContextLength: number | undefined): InstanceShape
  keepAliveMsOf(model: string): number
}

/** The inference pool behind its contract: model names to replicas, loading on demand. */
export class PoolService implements PoolClient {
  private readonly upstreamInFlight = new Map<string, number>()

  constructor(private readonly parts: PoolParts) {}

  async listModels(): Promise<readonly ModelView[]> {
    const files = await this.parts.node.listModels()
    const upstream = this.parts.upstreams.map((model) => this.upstreamView(model))
    return [...files.map((file) => this.fileView(file)), ...upstream].sort((a, b) =>
      a.name.localeCompare(b.name),
    )
  }

  async showModel(name: string): Promise<ModelView> {
    const upstream = this.upstreamOf(name)
    return upstream ? this.upstreamView(upstream) : this.fileView(await this.fileOf(name))
  }

  async revision(model: string): Promise<string> {
    const upstream = this.upstreamOf(model)
    if (upstream) return upstream.replica.revision
    const file = await this.fileOf(model)
    return revisionOf(file.revision, this.parts.shapeOf(model, file.trainedContextLength))
  }

  async acquire(model: string, signal: AbortSignal): Promise<void> {
    if (this.upstreamOf(model) || this.isReady(model)) return
    const file = await this.fileOf(model)
    if (file.quarantinedBecause) throw quarantined(model, file.quarantinedBecause)
    await this.want(file, signal)
  }

  async load(model: string, signal: AbortSignal): Promise<ModelView> {
    if (!this.upstreamOf(model)) {
      const file = await this.fileOf(model)
      if (file.quarantinedBecause) await this.parts.node.release(model)
      this.parts.controller.post({ kind: 'crashes-forgiven', model })
      if (!this.isReady(model)) await this.want(file, signal)
    }
    return this.showModel(model)
  }

  async unload(model: string, signal: AbortSignal): Promise<ModelView> {
    const { controller } = this.parts
    if (this.upstreamOf(model)) {
      throw new HelixError(
        'invalid_value',
        `The model '${model}' runs on another server and cannot be unloaded here.`,
      )
    }
    await this.fileOf(model)
    controller.post({ kind: 'unload-asked', model })
    while (this.instancesOf(model).length > 0) await this.nextChange(signal)
    return this.showModel(model)
  }

  async explainWait(model: string): Promise<WaitView> {
    const { controller, clock } = this.parts
    const loading = this.instancesOf(model).find(({ state }) => state === 'loading')
    if (!loading) {
      const nowMs = clock.monotonic()
      const notBeforeMs =
        controller.state.waiting.find(({ spec }) => spec.name === model)?.notBeforeMs ?? nowMs
      return notBeforeMs > nowMs
        ? {
            code: 'model_loading',
            reason: `${model} crashed and is loaded again`,
            remainingMs: notBeforeMs - nowMs,
          }
        : {
            code: 'insufficient_memory',
            reason: `waiting for memory to load ${model}`,
            remainingMs: undefined,
          }
    }
    const startedMs = controller.loadStartedMs(loading.id) ?? clock.monotonic()
    const elapsedMs = clock.monotonic() - startedMs
    const lastMs = controller.lastLoadMs(model)
    return {
      code: 'model_loading',
      reason: `loading ${model} since ${Math.round(elapsedMs / 1000)} s`,
      remainingMs: lastMs === undefined ? undefined : Math.max(500, lastMs - elapsedMs),
    }
  }

  watchReplicas(listener: (replicas: readonly Replica[]) => void): () => void {
    let last: string | undefined
    const publish = () => {
      const replicas = this.replicas()
      const ids = replicas.map(({ id }) => id).join(' ')
      if (ids === last) return
      last = ids
      listener(replicas)
    }
    publish()
    return this.parts.controller.watch(publish)
  }

  reportUse(instanceId: string, inFlight: number): void {
    const isUpstream = this.parts.upstreams.some(({ replica }) => replica.id === instanceId)
    if (isUpstream) this.upstreamInFlight.set(instanceId, inFlight)
    else this.parts.controller.post({ kind: 'use-changed', instanceId, inFlight })
  }

  reportDemand(models: readonly ModelDemand[]): void {
    this.parts.controller.post({ kind: 'demand', calendarMs: this.parts.clock.now(), models })
  }

  async explain(model: string): Promise<Explanation> {
    const spec = await this.specOf(await this.fileOf(model))
    return explain(this.parts.controller, spec)
  }

  async listDevices(): Promise<readonly DeviceView[]> {
    return listDevices(this.parts.controller.state, await this.parts.node.devices(), this.parts.node.nodeId)
  }

  async planMoves(model: string): Promise<MoveReport> {
    const spec = await this.specOf(await this.fileOf(model))
    return reportMoves(this.parts.controller, spec)
  }

  async defragment(model: string, signal: AbortSignal): Promise<MoveReport> {
    const report = await this.planMoves(model)
    if (report.moves.length === 0) return report
    this.parts.controller.post({ kind: 'defragment-asked', model })
    while (this.parts.controller.state.plan !== undefined) await this.nextChange(signal)
    return report
  }

  async unavailability(): Promise<HelixError | undefined> {
    if (this.parts.upstreams.length > 0) return undefined
    const files = await this.parts.node.listModels()
    if (files.some((file) => !file.quarantinedBecause && !file.invalidBecause))
      return this.parts.node.engineProblem()
    return new HelixError('model_unavailable', 'There is no model to serve yet.')
  }

  private async want(file: ModelFile, signal: AbortSignal): Promise<void> {
    const spec = await this.specOf(file)
    const ready = this.parts.controller.waitFor(file.name, signal)
    this.parts.controller.post({ kind: 'model-wanted', spec })
    await ready
  }

  private async specOf(file: ModelFile): Promise<ModelSpec> {
    if (file.invalidBecause) {
      throw new HelixError(
        'model_unavailable',
        `The file of the model '${file.name}' cannot be used: ${file.invalidBecause}`,
      )
    }
    const shape = this.parts.shapeOf(file.name, file.trainedContextLength)
    this.parts.controller.setShape(file.name, shape)
    const need = await this.parts.node.estimate(file.name, shape)
    return {
      ...{ name: file.name, ...need, splitMax: 1, onlyOn: undefined, nodes: [this.parts.node.nodeId] },
      ...{ group: undefined, slots: shape.slots, keepAliveMs: this.parts.keepAliveMsOf(file.name) },
      ...{ pinned: false, priority: 0, replicasMin: 0, replicasMax: 1, loadMs: 1_000, cachedLoadMs: 1_000 },
    }
  }

  private async fileOf(name: string): Promise<ModelFile> {
    const files = await this.parts.node.listModels()
    const file = files.find((candidate) => candidate.name === name)
    if (file) return file
    throw modelNotFound(name)
  }

  private replicas(): readonly Replica[] {
    const ours = this.parts.controller.state.instances
      .filter(({ state }) => state === 'ready')
      .map(({ id }) => this.replicaOf(id))
      .filter((replica) => replica !== undefined)
    return [...ours, ...this.parts.upstreams.map(({ replica }) => replica)]
  }

  private replicaOf(instanceId: string): Replica | undefined {
    const engine = this.parts.controller.engines.get(instanceId)
    return (
      engine && {
        id: instanceId,
        model: engine.model,
        engineModel: engine.model,
        engine: engine.engine,
        address: engine.address,
        slots: engine.shape.slots,
        contextLength: engine.contextLength,
        supportsTools: engine.supportsTools,
        continues: true,
        vocabularySize: engine.vocabularySize,
        revision: revisionOf(engine.revision, engine.shape),
      }
    )
  }

  private isReady(model: string): boolean {
    return this.instancesOf(model).some(({ state }) => state === 'ready')
  }

  private instancesOf(model: string): readonly Instance[] {
    return this.parts.controller.state.instances.filter(({ spec }) => spec.name === model)
  }

  private upstreamOf(name: string): UpstreamModel | undefined {
    return this.parts.upstreams.find(({ replica }) => replica.model === name)
  }

  private nextChange(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (end: () => void) => {
        unwatch()
        signal.removeEventListener('abort', abort)
        end()
      }
      const abort = () => settle(() => reject(signal.reason))
      const unwatch = this.parts.controller.watch(() => settle(resolve))
      signal.addEventListener('abort', abort, { once: true })
      if (signal.aborted) abort()
    })
  }

  private fileView(file: ModelFile): ModelView {
    const instances = this.instancesOf(file.name)
    const instance = instances.find(({ state }) => state === 'ready') ?? instances[0]
    const engine = instance && this.parts.controller.engines.get(instance.id)
    const idleEnd = instance && idleEndMs(instance)
    const { clock } = this.parts
    return {
      name: file.name,
      state: stateOf(
        file,
        instance,
        this.parts.controller.state.waiting.some(({ spec }) => spec.name === file.name),
      ),
      engine: 'llama-server',
      reason: file.quarantinedBecause ?? file.invalidBecause,
      sizeBytes: file.sizeBytes,
      memoryBytes: instance?.spec.memoryBytes,
      contextLength:
        engine?.contextLength ?? this.parts.shapeOf(file.name, file.trainedContextLength).contextLength,
      quantization: file.quantization,
      architecture: file.architecture,
      source: file.source,
      sha256: file.sha256,
      addedAtMs: file.addedAtMs,
      inFlight: instance?.inFlight ?? 0,
      unloadsAtMs: idleEnd === undefined ? undefined : Math.round(clock.now() + idleEnd - clock.monotonic()),
    }
  }

  private upstreamView({ upstream, replica }: UpstreamModel): ModelView {
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
      inFlight: this.upstreamInFlight.get(replica.id) ?? 0,
      unloadsAtMs: undefined,
    }
  }
}

/** Slots change how many are answered at a time, not what. */
function revisionOf(file: string, { contextLength, chatTemplate }: InstanceShape): string {
  return JSON.stringify([file, contextLength, chatTemplate ?? null])
}

function stateOf(file: ModelFile, instance: Instance | undefined, waiting: boolean): ModelState {
  if (file.invalidBecause) return 'failed'
  if (file.quarantinedBecause) return 'quarantined'
  if (!instance) return waiting ? 'loading' : 'available'
  if (instance.state === 'loading' || instance.state === 'ready') return instance.state
  return 'unloading'
}

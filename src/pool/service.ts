import type {
  DeviceView,
  Explanation,
  ModelDemand,
  ModelView,
  MoveReport,
  PoolClient,
  Replica,
  WaitView,
} from '../contracts/pool.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { noSpan, type Span, spanned } from '../core/tracing.ts'
import type { ModelSpec } from '../scheduler/state.ts'
import type { Catalogue, CatalogueEntry } from './catalogue.ts'
import { type PoolController, quarantined } from './controller.ts'
import { listDevices } from './device-list.ts'
import { explain, reportMoves } from './explain.ts'
import type { JournalView } from './journal.ts'
import type { Membership } from './membership.ts'
import { fileView, revisionOf, type UpstreamModel, upstreamView } from './model-view.ts'
import type { NodeDirectory } from './node-directory.ts'

export interface PoolParts {
  readonly nodes: NodeDirectory
  readonly catalogue: Catalogue
  readonly controller: PoolController
  readonly membership: Membership
  readonly clock: Clock
  readonly upstreams: readonly UpstreamModel[]
}

/** The inference pool behind its contract: model names to replicas, loading on demand. */
export class PoolService implements PoolClient {
  /** Requests by replica, where there are any; the scheduler knows only which have some. */
  private readonly inFlight = new Map<string, number>()
  /** How many wait to hear what a model needs. */
  private readonly preparing = new Map<string, number>()

  constructor(private readonly parts: PoolParts) {}

  async listModels(): Promise<readonly ModelView[]> {
    const entries = await this.parts.catalogue.list()
    const upstream = this.parts.upstreams.map((model) => this.upstreamView(model))
    return [...entries.map((entry) => this.fileView(entry)), ...upstream].sort((a, b) =>
      a.name.localeCompare(b.name),
    )
  }

  async showModel(name: string): Promise<ModelView> {
    const upstream = this.upstreamOf(name)
    return upstream ? this.upstreamView(upstream) : this.fileView(await this.parts.catalogue.find(name))
  }

  async revision(model: string): Promise<string> {
    const upstream = this.upstreamOf(model)
    if (upstream) return upstream.replica.revision
    const { file } = await this.parts.catalogue.find(model)
    return revisionOf(file.revision, this.parts.catalogue.shapeOf(file))
  }

  async acquire(model: string, signal: AbortSignal, span: Span = noSpan): Promise<void> {
    if (this.upstreamOf(model) || this.isReady(model)) return
    const entry = await this.parts.catalogue.find(model)
    if (entry.file.quarantinedBecause) throw quarantined(model, entry.file.quarantinedBecause)
    const acquiring = span.child('acquire', 'internal', { 'gen_ai.request.model': model })
    await spanned(acquiring, this.want(entry, signal, acquiring))
  }

  async load(model: string, signal: AbortSignal): Promise<ModelView> {
    if (!this.upstreamOf(model)) {
      const entry = await this.parts.catalogue.find(model)
      if (entry.file.quarantinedBecause) {
        await Promise.all(entry.nodes.map((nodeId) => this.parts.nodes.get(nodeId)?.release(model)))
      }
      this.parts.controller.post({ kind: 'crashes-forgiven', model })
      if (!this.isReady(model)) await this.want(entry, signal)
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
    await this.parts.catalogue.find(model)
    controller.post({ kind: 'unload-asked', model })
    while (this.hasInstances(model)) await this.nextChange(signal)
    return this.showModel(model)
  }

  async explainWait(model: string): Promise<WaitView> {
    const { controller } = this.parts
    const { state, nowMs } = controller
    const loading = state.instances.find(
      ({ spec, state: phase }) => spec.name === model && phase === 'loading',
    )
    if (!loading && (this.preparing.get(model) ?? 0) > 0) {
      return { code: 'model_loading', reason: `finding out what ${model} needs`, remainingMs: undefined }
    }
    if (!loading) {
      const notBeforeMs = state.waiting.find(({ spec }) => spec.name === model)?.notBeforeMs ?? nowMs
      return notBeforeMs > nowMs
        ? {
            code: 'model_loading',
            reason: `${model} crashed and is loaded again`,
            remainingMs: notBeforeMs - nowMs,
          }
        : { code: 'insufficient_memory', reason: this.memoryReason(model), remainingMs: undefined }
    }
    const elapsedMs = nowMs - (controller.loadStartedMs(loading.id) ?? nowMs)
    return {
      code: 'model_loading',
      reason: `loading ${model} since ${Math.round(elapsedMs / 1000)} s`,
      remainingMs: Math.max(500, loading.spec.loadMs - elapsedMs),
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
    if (inFlight > 0) this.inFlight.set(instanceId, inFlight)
    else this.inFlight.delete(instanceId)
    const isUpstream = this.parts.upstreams.some(({ replica }) => replica.id === instanceId)
    if (!isUpstream) this.reportBusy(instanceId, inFlight)
  }

  /** Gateways tell of every request; what is decided by it is only whether there are any. */
  private reportBusy(instanceId: string, inFlight: number): void {
    const { controller } = this.parts
    const instance = controller.state.instances.find(({ id }) => id === instanceId)
    if (!instance || instance.inFlight > 0 === inFlight > 0) return
    controller.post({ kind: 'use-changed', instanceId, inFlight })
  }

  reportDemand(models: readonly ModelDemand[]): void {
    this.parts.controller.post({ kind: 'demand', calendarMs: this.parts.clock.now(), models })
  }

  async explain(model: string): Promise<Explanation> {
    if (this.upstreamOf(model)) {
      const summary = `${model} runs on another server and needs no place here`
      return { model, summary, candidates: [], evictions: [], decisions: [] }
    }
    const entry = await this.parts.catalogue.find(model)
    const spec = await this.parts.catalogue.specOf(entry)
    return explain(this.parts.controller, spec, this.inFlight)
  }

  async listDevices(): Promise<readonly DeviceView[]> {
    return listDevices(this.parts.controller.state, this.parts.membership.reports)
  }

  async planMoves(model: string): Promise<MoveReport> {
    const spec = await this.parts.catalogue.specOf(await this.parts.catalogue.find(model))
    return reportMoves(this.parts.controller, spec)
  }

  async defragment(model: string, signal: AbortSignal): Promise<MoveReport> {
    const { controller } = this.parts
    const spec = await this.parts.catalogue.specOf(await this.parts.catalogue.find(model))
    // The moves of another one come first, and may change what this one needs.
    while (controller.state.plan !== undefined) await this.nextChange(signal)
    const report = reportMoves(controller, spec)
    if (report.moves.length === 0) return report
    controller.post({ kind: 'defragment-asked', spec })
    while (controller.state.plan !== undefined) await this.nextChange(signal)
    return report
  }

  /** What the scheduler met and decided lately: replaying it gives its present state. */
  async journal(): Promise<JournalView> {
    return this.parts.controller.journal.view()
  }

  async unavailability(): Promise<HelixError | undefined> {
    if (this.parts.upstreams.length > 0) return undefined
    const entries = await this.parts.catalogue.list()
    const usable = entries.filter(({ file }) => !file.quarantinedBecause && !file.invalidBecause)
    if (usable.length === 0) return new HelixError('model_unavailable', 'There is no model to serve yet.')
    const problems = this.parts.nodes.all().map((node) => node.engineProblem())
    return problems.every((problem) => problem !== undefined) ? problems[0] : undefined
  }

  private async want(entry: CatalogueEntry, signal: AbortSignal, span: Span = noSpan): Promise<void> {
    const { controller, catalogue } = this.parts
    const { file } = entry
    controller.effects.setShape(file.name, catalogue.shapeOf(file))
    const spec = await this.prepared(entry)
    signal.throwIfAborted()
    const ready = controller.waitFor(file.name, signal, span)
    controller.post({ kind: 'model-wanted', spec })
    await ready
  }

  /** What it needs is reckoned by its engine, which may have to be built first. */
  private async prepared(entry: CatalogueEntry): Promise<ModelSpec> {
    const { name } = entry.file
    this.preparing.set(name, (this.preparing.get(name) ?? 0) + 1)
    try {
      return await this.parts.catalogue.specOf(entry)
    } finally {
      this.preparing.set(name, (this.preparing.get(name) ?? 1) - 1)
    }
  }

  private replicas(): readonly Replica[] {
    const ours = this.parts.controller.state.instances
      .filter(({ state }) => state === 'ready')
      .map(({ id }) => this.replicaOf(id))
      .filter((replica) => replica !== undefined)
    return [...ours, ...this.parts.upstreams.map(({ replica }) => replica)]
  }

  private replicaOf(id: string): Replica | undefined {
    const running = this.parts.controller.effects.engines.get(id)
    if (!running) return undefined
    const { model, engine, address, shape, contextLength, supportsTools, vocabularySize } = running
    return {
      ...{ id, model, engineModel: model, engine, address, slots: shape.slots, contextLength },
      ...{ supportsTools, vocabularySize, continues: true },
      revision: revisionOf(running.revision, shape),
    }
  }

  private memoryReason(model: string): string {
    const { plan } = this.parts.controller.state
    return plan?.model === model
      ? `other models are moved to make room for ${model}`
      : `waiting for memory to load ${model}`
  }

  private isReady(model: string): boolean {
    const { instances } = this.parts.controller.state
    return instances.some(({ spec, state }) => spec.name === model && state === 'ready')
  }

  private hasInstances(model: string): boolean {
    return this.parts.controller.state.instances.some(({ spec }) => spec.name === model)
  }

  private fileView(entry: CatalogueEntry): ModelView {
    const { controller, clock, catalogue } = this.parts
    const { contextLength } = catalogue.shapeOf(entry.file)
    return fileView(entry.file, contextLength, { controller, clock, inFlight: this.inFlight })
  }

  private upstreamView(upstream: UpstreamModel): ModelView {
    return upstreamView(upstream, this.inFlight.get(upstream.replica.id) ?? 0)
  }

  private upstreamOf(name: string): UpstreamModel | undefined {
    return this.parts.upstreams.find(({ replica }) => replica.model === name)
  }

  private nextChange(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const signals = [signal, this.parts.controller.over]
      const settle = (end: () => void) => {
        unwatch()
        for (const one of signals) one.removeEventListener('abort', abort)
        end()
      }
      const abort = () => settle(() => reject(signals.find(({ aborted }) => aborted)?.reason))
      const unwatch = this.parts.controller.watch(() => settle(resolve))
      for (const one of signals) one.addEventListener('abort', abort, { once: true })
      if (signals.some(({ aborted }) => aborted)) abort()
    })
  }
}

import type { InstanceShape, NodeClient, StartedEngine } from '../contracts/node.ts'
import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import { noTracer, type Span, type Tracer } from '../core/tracing.ts'
import type { SchedulerAction } from '../scheduler/actions.ts'
import type { SchedulerEvent } from '../scheduler/events.ts'
import type { NodeDirectory } from './node-directory.ts'

export interface EffectsParts {
  readonly nodes: NodeDirectory
  readonly clock: Clock
  readonly log: Logger
  /** For loads that nobody waits for. */
  readonly tracer?: Tracer | undefined
}

type LoadAction = Extract<SchedulerAction, { kind: 'load' }>

export interface Reports {
  post(event: SchedulerEvent): void
  /** The instance did not come; whoever waits for it must hear why. */
  failed(instanceId: string, model: string, error: HelixError): void
  /** A model was loaded on that node, in that time. */
  loaded(model: string, nodeId: string, tookMs: number): void
}

export interface RunningEngine extends StartedEngine {
  readonly model: string
  readonly shape: InstanceShape
}

/** A node that cannot be reached is asked again after this, until it is lost. */
const AGAIN_MS = 1_000

/** Carries out what the scheduler decided, and reports back as events. The only place of the pool that acts. */
export class Effects {
  /** By instance id; an engine is in here from ready until it is told to go. */
  readonly engines = new Map<string, RunningEngine>()
  /** Instances being started, with when that began on the monotonic clock. */
  readonly startedMs = new Map<string, number>()
  /** Files that nodes are reading into memory. */
  private readonly reading = new Set<string>()
  private readonly shapes = new Map<string, InstanceShape>()

  constructor(
    private readonly parts: EffectsParts,
    private readonly reports: Reports,
  ) {}

  /** What the next instances of a model are started with. */
  setShape(model: string, shape: InstanceShape): void {
    this.shapes.set(model, shape)
  }

  /** Hears of engines that end by themselves. Returns what ends that. */
  watchExits(node: NodeClient): () => void {
    return node.watchExits(({ instanceId, why, description }) => {
      this.parts.log.warn('engine exited', { instance: instanceId, why, description })
      this.engines.delete(instanceId)
      this.reports.post({ kind: 'instance-gone', instanceId, why })
    })
  }

  /** An engine that runs already is ours from now on. */
  adopt(instanceId: string, engine: RunningEngine): void {
    this.engines.set(instanceId, engine)
  }

  /** The node is gone, and with it whatever ran there. */
  forget(isGone: (instanceId: string) => boolean): void {
    for (const id of this.engines.keys()) if (isGone(id)) this.engines.delete(id)
  }

  /** @param waiting of whoever waits for it, whose trace it belongs to */
  load(action: LoadAction, waiting: Span | undefined): void {
    void this.start(action, this.loadSpan(action, waiting))
  }

  unload(instanceId: string, nodeId: string): void {
    this.engines.delete(instanceId)
    const gone = () => this.reports.post({ kind: 'instance-gone', instanceId, why: 'stopped' })
    const node = this.parts.nodes.get(nodeId)
    // Its end is the node's end.
    const stopped = node ? this.end(node, instanceId) : Promise.resolve()
    void stopped.then(gone, (cause) =>
      this.parts.log.error('engine did not stop', { instance: instanceId, cause: String(cause) }),
    )
  }

  cacheFile(model: string, nodeId: string): void {
    const reading = JSON.stringify([nodeId, model])
    const node = this.parts.nodes.get(nodeId)
    if (!node || this.reading.has(reading)) return
    this.reading.add(reading)
    node
      .cacheFile(model)
      .catch((cause) => this.parts.log.warn('file not read ahead', { model, cause: String(cause) }))
      .finally(() => this.reading.delete(reading))
  }

  quarantine(model: string, because: string): void {
    this.parts.log.error('model quarantined', { model, because })
    for (const node of this.parts.nodes.all()) {
      node
        .quarantine(model, because)
        .catch((cause) => this.parts.log.error('quarantine not recorded', { model, cause: String(cause) }))
    }
  }

  private loadSpan(
    { instanceId, spec, nodeId, shares, purpose }: LoadAction,
    waiting: Span | undefined,
  ): Span {
    const { tracer = noTracer } = this.parts
    const name = `load ${spec.name}`
    const span = waiting ? waiting.child(name, 'internal') : tracer.begin(name, 'internal', {})
    span.set({
      'gen_ai.request.model': spec.name,
      'helixflow.instance.id': instanceId,
      'helixflow.node.id': nodeId,
      'helixflow.devices': shares.map(({ deviceId }) => deviceId),
      'helixflow.load.purpose': purpose,
    })
    return span
  }

  private async start({ instanceId, spec, nodeId, shares, purpose }: LoadAction, span: Span): Promise<void> {
    const model = spec.name
    const { nodes, clock, log } = this.parts
    const shape = this.shapes.get(model)
    const node = nodes.get(nodeId)
    if (!shape || !node) {
      const error = new HelixError('node_unavailable', `The node that was to load '${model}' is gone.`)
      span.end(error)
      this.reports.failed(instanceId, model, error)
      return this.reports.post({ kind: 'instance-gone', instanceId, why: 'killed' })
    }
    const startedMs = clock.monotonic()
    this.startedMs.set(instanceId, startedMs)
    const devices = shares.map(({ deviceId }) => deviceId)
    log.info('loading model', { model, instance: instanceId, devices, purpose })
    const outcome = await node.start({ instanceId, model, shape, shares }, span)
    span.set({ 'helixflow.load.outcome': outcome.kind === 'ready' ? 'ready' : outcome.why })
    span.end(outcome.kind === 'ready' ? undefined : outcome.error)
    this.startedMs.delete(instanceId)
    if (outcome.kind === 'ready') {
      const tookMs = Math.round(clock.monotonic() - startedMs)
      log.info('model ready', { model, instance: instanceId, ms: tookMs })
      this.reports.loaded(model, nodeId, tookMs)
      this.engines.set(instanceId, { ...outcome.engine, model, shape })
      return this.reports.post({
        ...{ kind: 'instance-ready', instanceId },
        ...(outcome.engine.shares && { shares: outcome.engine.shares }),
      })
    }
    log.warn('model did not load', {
      ...{ model, instance: instanceId, why: outcome.why },
      reason: outcome.error.message,
    })
    // A crash is tried again after a pause; whoever waits goes on waiting. So they do when it was not heard what came of it.
    const isUnheard = outcome.error.code === 'node_unavailable'
    if (outcome.why !== 'crashed' && !isUnheard) this.reports.failed(instanceId, model, outcome.error)
    // It may have come up all the same, and nobody has heard of it.
    if (isUnheard) await this.end(node, instanceId).catch(() => {})
    this.reports.post({ kind: 'instance-gone', instanceId, why: outcome.why })
  }

  /** Resolves when the engine is known to be gone, be it with its node. */
  private async end(node: NodeClient, instanceId: string): Promise<void> {
    while (this.parts.nodes.get(node.nodeId) === node) {
      try {
        return await node.stop(instanceId)
      } catch (reason) {
        if (HelixError.from(reason).code !== 'node_unavailable') throw reason
        await delay(this.parts.clock, AGAIN_MS)
      }
    }
  }
}

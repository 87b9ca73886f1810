import type { InstanceShape, NodeClient, StartedEngine } from '../contracts/node.ts'
import type { Clock } from '../core/clock.ts'
import type { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { SchedulerAction } from '../scheduler/actions.ts'
import type { SchedulerEvent } from '../scheduler/events.ts'

export interface EffectsParts {
  readonly node: NodeClient
  readonly clock: Clock
  readonly log: Logger
}

type LoadAction = Extract<SchedulerAction, { kind: 'load' }>

export interface Reports {
  post(event: SchedulerEvent): void
  /** Whoever waits for the model must hear why it does not come. */
  failed(model: string, error: HelixError): void
}

export interface RunningEngine extends StartedEngine {
  readonly model: string
  readonly shape: InstanceShape
}

/** Carries out what the scheduler decided, and reports back as events. The only place of the pool that acts. */
export class Effects {
  /** By instance id; an engine is in here from ready until it is told to go. */
  readonly engines = new Map<string, RunningEngine>()
  /** How long the last load of each model took. */
  readonly loadMs = new Map<string, number>()
  /** Instances being started, with when that began on the monotonic clock. */
  readonly startedMs = new Map<string, number>()
  private readonly shapes = new Map<string, InstanceShape>()

  constructor(
    private readonly parts: EffectsParts,
    private readonly reports: Reports,
  ) {
    parts.node.watchExits(({ instanceId, why, description }) => {
      parts.log.warn('engine exited', { instance: instanceId, why, description })
      this.engines.delete(instanceId)
      reports.post({ kind: 'instance-gone', instanceId, why })
    })
  }

  /** What the next instances of a model are started with. */
  setShape(model: string, shape: InstanceShape): void {
    this.shapes.set(model, shape)
  }

  load(action: LoadAction): void {
    void this.start(action)
  }

  unload(instanceId: string): void {
    this.engines.delete(instanceId)
    void this.parts.node.stop(instanceId).then(
      () => this.reports.post({ kind: 'instance-gone', instanceId, why: 'stopped' }),
      (cause) => this.parts.log.error('engine did not stop', { instance: instanceId, cause: String(cause) }),
    )
  }

  cacheFile(model: string): void {
    this.parts.node
      .cacheFile(model)
      .catch((cause) => this.parts.log.warn('file not read ahead', { model, cause: String(cause) }))
  }

  quarantine(model: string, because: string): void {
    this.parts.log.error('model quarantined', { model, because })
    this.parts.node
      .quarantine(model, because)
      .catch((cause) => this.parts.log.error('quarantine not recorded', { model, cause: String(cause) }))
  }

  private async start({ instanceId, spec, shares }: LoadAction): Promise<void> {
    const model = spec.name
    const { node, clock, log } = this.parts
    const shape = this.shapes.get(model)
    if (!shape) return this.reports.post({ kind: 'instance-gone', instanceId, why: 'failed' })
    const startedMs = clock.monotonic()
    this.startedMs.set(instanceId, startedMs)
    log.info('loading model', { model, instance: instanceId })
    const outcome = await node.start({ instanceId, model, shape, shares })
    this.startedMs.delete(instanceId)
    if (outcome.kind === 'ready') {
      const tookMs = Math.round(clock.monotonic() - startedMs)
      log.info('model ready', { model, instance: instanceId, ms: tookMs })
      this.loadMs.set(model, tookMs)
      this.engines.set(instanceId, { ...outcome.engine, model, shape })
      return this.reports.post({
        ...{ kind: 'instance-ready', instanceId },
        ...(outcome.engine.shares && { shares: outcome.engine.shares }),
      })
    }
    log.warn('model did not load', {
      model,
      instance: instanceId,
      why: outcome.why,
      reason: outcome.error.message,
    })
    // A crash is tried again after a pause; whoever waits goes on waiting.
    if (outcome.why !== 'crashed') this.reports.failed(model, outcome.error)
    this.reports.post({ kind: 'instance-gone', instanceId, why: outcome.why })
  }
}

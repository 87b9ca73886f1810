import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { Refusal, SchedulerAction } from '../scheduler/actions.ts'
import { decide, nextWakeMs } from '../scheduler/decide.ts'
import type { GoneReason, SchedulerEvent } from '../scheduler/events.ts'
import { type ClusterState, emptyCluster, type Instance } from '../scheduler/state.ts'
import { BatchingEngine } from './batching-engine.ts'
import { DeviceLoad } from './device-load.ts'
import type { Job } from './job.ts'
import { PageCache } from './page-cache.ts'
import type { DecisionWatcher, ModelProfile, Scenario } from './scenario.ts'

/** What the pool tells whoever waits for it. */
export interface PoolListener {
  ready(instance: Instance, engine: BatchingEngine): void
  /** It takes no new requests from now on. */
  leaving(instanceId: string): void
  /** What ran on it has come to nothing. */
  lost(instanceId: string, jobs: readonly Job[]): void
  refused(model: string, refusal: Refusal | undefined): void
  /** An instance of it has ended, ready or not. */
  gone(model: string): void
  finished(job: Job): void
}

/** One load that was ordered, for the report. */
export interface LoadRecord {
  readonly instanceId: string
  readonly model: string
  readonly purpose: string
  readonly bytes: number
  readonly deviceIds: readonly string[]
  readonly startedMs: number
  readonly fromPageCache: boolean
  readyMs: number | undefined
  goneMs: number | undefined
  served: boolean
}

interface Running {
  readonly engine: BatchingEngine
  readonly record: LoadRecord
  cancel: () => void
}

/**
 * The scheduler as it runs live, with effects that only take their time: actions of `decide` come back as events when
 * a load, an unload or a crash would have happened.
 */
export class ReplayedPool {
  readonly loads: LoadRecord[] = []
  readonly deviceLoad: DeviceLoad
  private current: ClusterState
  private readonly running = new Map<string, Running>()
  private readonly announced = new Set<string>()
  private readonly profiles: ReadonlyMap<string, ModelProfile>
  private readonly pageCaches = new Map<string, PageCache>()
  private readonly events: SchedulerEvent[] = []
  private isDeciding = false
  private cancelWake: () => void = () => {}

  constructor(
    private readonly scenario: Scenario,
    private readonly clock: Clock,
    private readonly parts: {
      readonly random: Random
      readonly listener: PoolListener
      readonly watch: DecisionWatcher
    },
  ) {
    this.current = emptyCluster(scenario.devices)
    this.deviceLoad = new DeviceLoad(scenario.devices.map(({ id }) => id))
    this.profiles = new Map(scenario.models.map((profile) => [profile.spec.name, profile]))
    for (const { nodeId } of scenario.devices) {
      this.pageCaches.set(nodeId, new PageCache(scenario.costs.pageCacheBytes))
    }
  }

  get state(): ClusterState {
    return this.current
  }

  /** One after the other: what a decision causes at once is decided after it. */
  post(event: SchedulerEvent): void {
    if (event.kind === 'use-changed' && event.inFlight > 0) {
      const running = this.running.get(event.instanceId)
      if (running) running.record.served = true
    }
    this.events.push(event)
    if (this.isDeciding) return
    this.isDeciding = true
    for (let next = this.events.shift(); next; next = this.events.shift()) this.decide(next)
    this.isDeciding = false
    this.wakeInTime()
  }

  /** Whether something is on its way that will answer for this model. */
  expects(model: string): boolean {
    const { instances, waiting } = this.current
    return (
      waiting.some(({ spec, purpose }) => spec.name === model && purpose === 'demand') ||
      instances.some(({ spec, state }) => spec.name === model && (state === 'loading' || state === 'ready'))
    )
  }

  private decide(event: SchedulerEvent): void {
    const nowMs = this.clock.monotonic()
    const { state, actions } = decide(this.current, event, this.scenario.policy, nowMs)
    this.current = state
    this.parts.watch({ state, event, actions, nowMs })
    for (const action of actions) this.perform(action)
    this.announce()
  }

  private perform(action: SchedulerAction): void {
    switch (action.kind) {
      case 'load':
        this.load(action)
        break
      case 'unload':
        this.unload(action.instanceId)
        break
      case 'cache-file':
        this.cacheFile(action.model, action.nodeId)
        break
      case 'refuse':
        this.parts.listener.refused(action.model, action.refusal)
        break
      case 'quarantine':
        this.parts.listener.refused(action.model, undefined)
        break
    }
  }

  private load({
    instanceId,
    spec,
    nodeId,
    shares,
    purpose,
  }: Extract<SchedulerAction, { kind: 'load' }>): void {
    const profile = this.profiles.get(spec.name)
    const cache = this.pageCaches.get(nodeId)
    if (!profile || !cache || this.running.has(instanceId)) return
    const { clock } = this
    const deviceIds = shares.map(({ deviceId }) => deviceId)
    const fromPageCache = cache.has(spec.name)
    const record: LoadRecord = {
      ...{ instanceId, model: spec.name, purpose, deviceIds, fromPageCache, bytes: spec.memoryBytes },
      ...{ startedMs: clock.monotonic(), readyMs: undefined, goneMs: undefined, served: false },
    }
    this.loads.push(record)
    const engine = new BatchingEngine({
      ...{ clock, deviceIds, steps: profile.steps, load: this.deviceLoad },
      prefixBlocksMax: profile.prefixBlocksMax,
      finished: (job) => this.parts.listener.finished(job),
    })
    const loadMs = fromPageCache ? spec.cachedLoadMs : spec.loadMs
    const crashes = this.parts.random.uniform() < this.scenario.costs.loadCrashChance
    const cancel = crashes
      ? clock.schedule(loadMs * this.parts.random.uniform(), () => this.lose(instanceId, 'crashed'))
      : clock.schedule(loadMs, () => this.becomeReady(instanceId, profile, nodeId))
    this.running.set(instanceId, { engine, record, cancel })
  }

  private becomeReady(instanceId: string, { spec, fileBytes }: ModelProfile, nodeId: string): void {
    const running = this.running.get(instanceId)
    if (!running) return
    running.record.readyMs = this.clock.monotonic()
    running.cancel = this.crashInTime(instanceId)
    this.read(spec.name, fileBytes, nodeId)
    this.post({ kind: 'instance-ready', instanceId })
  }

  private crashInTime(instanceId: string): () => void {
    const { crashesPerHour } = this.scenario.costs
    if (crashesPerHour <= 0) return () => {}
    const hours = -Math.log(1 - this.parts.random.uniform()) / crashesPerHour
    return this.clock.schedule(hours * 3_600_000, () => this.lose(instanceId, 'crashed'))
  }

  private unload(instanceId: string): void {
    const running = this.running.get(instanceId)
    if (!running) return
    running.cancel()
    const jobs = running.engine.kill()
    running.cancel = this.clock.schedule(this.scenario.costs.unloadMs, () => this.lose(instanceId, 'stopped'))
    if (jobs.length > 0) this.parts.listener.lost(instanceId, jobs)
  }

  private lose(instanceId: string, why: GoneReason): void {
    const running = this.running.get(instanceId)
    if (!running) return
    running.cancel()
    const jobs = running.engine.kill()
    running.record.goneMs = this.clock.monotonic()
    this.running.delete(instanceId)
    this.post({ kind: 'instance-gone', instanceId, why })
    if (jobs.length > 0) this.parts.listener.lost(instanceId, jobs)
    this.parts.listener.gone(running.record.model)
  }

  private cacheFile(model: string, nodeId: string): void {
    const profile = this.profiles.get(model)
    if (!profile || this.pageCaches.get(nodeId)?.has(model)) return
    this.clock.schedule(profile.spec.loadMs, () => this.read(model, profile.fileBytes, nodeId))
  }

  private read(model: string, fileBytes: number, nodeId: string): void {
    const cache = this.pageCaches.get(nodeId)
    if (!cache) return
    const before = cache.names.join()
    cache.read(model, fileBytes)
    if (cache.names.join() !== before) this.post({ kind: 'files-cached', nodeId, models: cache.names })
  }

  /** Tells of what became ready, and of what takes no more requests. */
  private announce(): void {
    const ready = new Set<string>()
    for (const instance of this.current.instances) {
      if (instance.state !== 'ready') continue
      ready.add(instance.id)
      const running = this.running.get(instance.id)
      if (!running || this.announced.has(instance.id)) continue
      this.announced.add(instance.id)
      this.parts.listener.ready(instance, running.engine)
    }
    for (const id of this.announced) {
      if (ready.has(id)) continue
      this.announced.delete(id)
      this.parts.listener.leaving(id)
    }
  }

  private wakeInTime(): void {
    this.cancelWake()
    const nowMs = this.clock.monotonic()
    const wakeMs = nextWakeMs(this.current, this.scenario.policy, nowMs)
    if (wakeMs === undefined) return
    // Never at once again: a time that has passed and moves nothing must not hold the replay on the spot.
    const delayMs = Math.max(1, wakeMs - nowMs)
    this.cancelWake = this.clock.schedule(delayMs, () => this.post({ kind: 'time-passed' }))
  }
}

import type { Refusal, SchedulerAction } from './actions.ts'
import type { GoneReason } from './events.ts'
import { withHistories } from './histories.ts'
import type { Placement } from './placement/placement.ts'
import type { Policy } from './policy.ts'
import type { DecisionRecord, EvictionReason } from './records.ts'
import {
  type ClusterState,
  type Instance,
  isSameSpec,
  type ModelHistory,
  type ModelSpec,
  NO_ARRIVALS,
  type Purpose,
  type WaitingModel,
} from './state.ts'
import { type ClusterView, viewOf } from './view.ts'

/**
 * One decision while it is made: its steps read the state that the steps before left, and add to what is to be done.
 * Nothing of it outlives `decide`, and the states themselves are never changed.
 */
export class Turn {
  readonly actions: SchedulerAction[] = []
  readonly records: DecisionRecord[] = []
  private lastView: ClusterView | undefined
  private counts: ReadonlyMap<string, number> | undefined

  constructor(
    private current: ClusterState,
    readonly policy: Policy,
    readonly nowMs: number,
  ) {}

  get state(): ClusterState {
    return this.current
  }

  /** Computed when it is first asked for after a change: most decisions need none. */
  get view(): ClusterView {
    this.lastView ??= viewOf(this.current, this.nowMs)
    return this.lastView
  }

  change(change: Partial<ClusterState>): void {
    this.current = { ...this.current, ...change }
    this.lastView = undefined
    if (change.instances) this.counts = undefined
  }

  instance(id: string): Instance | undefined {
    return this.current.instances.find((one) => one.id === id)
  }

  updateInstance(id: string, change: (instance: Instance) => Instance): void {
    const index = this.current.instances.findIndex((one) => one.id === id)
    const instance = this.current.instances[index]
    if (instance) this.change({ instances: this.current.instances.with(index, change(instance)) })
  }

  updateHistory(model: string, change: Partial<ModelHistory>): void {
    const { models } = this.current
    const history = models[model]
    if (!history || hasAll(history, change)) return
    this.change({ models: withHistories(models, new Map([[model, { ...history, ...change }]])) })
  }

  /** How many instances of the model serve or soon will. */
  present(model: string): number {
    this.counts ??= countsOf(this.current.instances)
    return this.counts.get(model) ?? 0
  }

  /** Somebody, or something, wants one more instance; what waits already only gets more urgent. */
  want(waiting: WaitingModel): void {
    const { name } = waiting.spec
    const { models } = this.current
    const history = models[name]
    // Whoever asks makes the specification anew; that it says the same is the rule.
    if (!history || !isSameSpec(history.spec, waiting.spec)) {
      const known = { ...(history ?? UNKNOWN), spec: waiting.spec }
      this.change({ models: withHistories(models, new Map([[name, known]])) })
    }
    const index = this.current.waiting.findIndex(({ spec }) => spec.name === name)
    const known = this.current.waiting[index]
    if (!known) {
      this.change({ waiting: [...this.current.waiting, waiting] })
    } else if (known.purpose !== 'demand' && waiting.purpose === 'demand') {
      const urgent = { ...waiting, notBeforeMs: known.notBeforeMs }
      this.change({ waiting: this.current.waiting.with(index, urgent) })
    }
  }

  updateWaiting(model: string, change: Partial<WaitingModel>): void {
    const index = this.current.waiting.findIndex(({ spec }) => spec.name === model)
    const waiting = this.current.waiting[index]
    if (waiting) this.change({ waiting: this.current.waiting.with(index, { ...waiting, ...change }) })
  }

  dropWaiting(model: string, purpose?: Purpose): void {
    const waiting = this.current.waiting.filter(
      (one) => one.spec.name !== model || (purpose !== undefined && one.purpose !== purpose),
    )
    if (waiting.length < this.current.waiting.length) this.change({ waiting })
  }

  load(
    { spec, purpose }: { readonly spec: ModelSpec; readonly purpose: Purpose },
    { nodeId, shares, because, candidates }: Omit<Extract<Placement, { kind: 'placed' }>, 'kind'>,
  ): string {
    const id = `${spec.name}-${this.current.nextInstance}`
    const deadlineMs = this.nowMs + this.policy.transitionTimeoutMs
    const instance: Instance = {
      id,
      spec,
      nodeId,
      shares,
      state: 'loading',
      purpose,
      inFlight: 0,
      used: false,
      readySinceMs: undefined,
      lastUsedMs: this.nowMs,
      deadlineMs,
      worth: 0,
      workMs: 0,
      workedUntilMs: this.nowMs,
    }
    this.change({
      instances: [...this.current.instances, instance],
      nextInstance: this.current.nextInstance + 1,
      lastPlacedOn: shares.at(-1)?.deviceId,
    })
    this.actions.push({ kind: 'load', instanceId: id, spec, nodeId, shares, purpose })
    const devices = shares.map(({ deviceId }) => deviceId)
    this.records.push({
      kind: 'placed',
      ...{ model: spec.name, instanceId: id, purpose, devices, because, candidates },
    })
    return id
  }

  /** It takes no new requests, and goes when it has none left: now, if it has none. */
  drain(instance: Instance, reason: EvictionReason, because: string): void {
    this.records.push({
      kind: 'evicted',
      ...{ model: instance.spec.name, instanceId: instance.id, reason, because },
    })
    if (instance.inFlight === 0) this.unload(instance)
    else this.updateInstance(instance.id, (one) => ({ ...one, state: 'draining', deadlineMs: undefined }))
  }

  /** It goes, whatever it does; its memory is held until it is gone. */
  unload(instance: Instance): void {
    const deadlineMs = this.nowMs + this.policy.transitionTimeoutMs
    this.updateInstance(instance.id, (one) => ({ ...one, state: 'unloading', deadlineMs }))
    this.actions.push({ kind: 'unload', instanceId: instance.id, nodeId: instance.nodeId })
  }

  /** It is no more. Whoever used or awaited it gets another one, after a pause if it crashed, unless too often. */
  remove(instance: Instance, why: GoneReason): void {
    this.change({ instances: this.current.instances.filter(({ id }) => id !== instance.id) })
    const wasWanted = instance.state === 'loading' || instance.state === 'ready'
    if (why === 'stopped' || !wasWanted) return
    const spec = this.latestSpec(instance)
    // Whoever waits for it is told why; that it is killed again and again while nobody waits would help nobody.
    if (why === 'failed' || (why === 'killed' && instance.state === 'loading')) {
      this.updateHistory(spec.name, { failedMs: this.nowMs })
      return
    }
    const remembered = this.current.models[spec.name]?.crashes ?? []
    const windowed = remembered.filter((time) => time > this.nowMs - this.policy.crashWindowMs)
    const recent = windowed.length === remembered.length ? remembered : windowed
    const crashes = why === 'crashed' ? [...recent, this.nowMs] : recent
    this.updateHistory(spec.name, { crashes })
    if (crashes.length >= this.policy.crashesMax) {
      this.dropWaiting(spec.name)
      this.actions.push({ kind: 'quarantine', model: spec.name, crashes: crashes.length })
      return
    }
    if (!this.isMissed(instance) || this.present(spec.name) > 0) return
    const notBeforeMs = this.crashPauseEndMs(spec.name)
    this.want({ spec, purpose: 'demand', sinceMs: this.nowMs, notBeforeMs })
  }

  /**
   * Somebody waits for it, or used it until now: of requests that ended with it, it may be heard first that they ended. One
   * that idled is loaded when it is asked for.
   */
  private isMissed({ state, inFlight, lastUsedMs }: Instance): boolean {
    return state === 'loading' || inFlight > 0 || this.nowMs - lastUsedMs < USED_LATELY_MS
  }

  /** When the pause after the latest crash of the model ends; now when there is none. */
  crashPauseEndMs(model: string): number {
    const crashes = this.current.models[model]?.crashes ?? []
    const { crashPauseMs, crashPauseMaxMs } = this.policy
    const pauseMs = Math.min(crashPauseMaxMs, crashPauseMs * 2 ** (crashes.length - 1))
    return Math.max(this.nowMs, (crashes.at(-1) ?? Number.NEGATIVE_INFINITY) + pauseMs)
  }

  /** The model as it is known now: since the instance was placed its file may have come to other nodes. */
  latestSpec({ spec }: Instance): ModelSpec {
    return this.current.models[spec.name]?.spec ?? spec
  }

  /** Whoever waits for the model hears that it does not come. */
  refuse(model: string, refusal: Refusal): void {
    this.dropWaiting(model)
    this.actions.push({ kind: 'refuse', model, refusal })
  }
}

const USED_LATELY_MS = 10_000

/** Whether the history says all that already: a change of nothing would copy the histories of all models. */
function hasAll(history: ModelHistory, change: Partial<ModelHistory>): boolean {
  const known: Readonly<Record<string, unknown>> = { ...history }
  return Object.entries(change).every(([key, value]) => known[key] === value)
}

function countsOf(instances: readonly Instance[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const { spec, state } of instances) {
    if (state === 'loading' || state === 'ready') counts.set(spec.name, (counts.get(spec.name) ?? 0) + 1)
  }
  return counts
}

export const UNKNOWN: Omit<ModelHistory, 'spec'> = {
  crashes: [],
  inFlight: 0,
  queued: 0,
  spareSinceMs: undefined,
  held: false,
  arrivals: NO_ARRIVALS,
}

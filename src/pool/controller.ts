import { HelixError } from '../core/errors.ts'
import type { Refusal, SchedulerAction } from '../scheduler/actions.ts'
import { decide, nextWakeMs } from '../scheduler/decide.ts'
import type { SchedulerEvent } from '../scheduler/events.ts'
import type { Policy } from '../scheduler/policy.ts'
import type { ClusterState } from '../scheduler/state.ts'
import { Effects, type EffectsParts } from './effects.ts'
import { Journal } from './journal.ts'
import type { LoadTimesSeen } from './load-times.ts'
import type { PoolMetrics } from './pool-metrics.ts'

export interface ControllerParts extends EffectsParts {
  readonly policy: Policy
  readonly loadTimes: LoadTimesSeen
  readonly metrics: PoolMetrics
}

/** What Node takes for a longer one ends at once. */
const DELAY_MAX_MS = 2 ** 31 - 1

/**
 * The one writer of the cluster state. Every change is an event that goes through `decide`; effects run beside it
 * and come back as events. Requests that wait for a model are settled here.
 */
export class PoolController {
  private readonly waiters = new Map<string, Set<Waiter>>()
  private readonly listeners = new Set<() => void>()
  readonly effects: Effects
  readonly journal: Journal
  private cancelWake: (() => void) | undefined
  private readonly ending = new AbortController()

  constructor(
    private readonly parts: ControllerParts,
    private current: ClusterState,
  ) {
    this.journal = new Journal(current)
    this.effects = new Effects(parts, {
      post: (event) => this.post(event),
      failed: (instanceId, model, error) => {
        // One that is not awaited any more has been replaced, or whoever waited knows already.
        if (this.current.instances.find(({ id }) => id === instanceId)?.state === 'loading')
          this.reject(model, error)
      },
      loaded: (model, nodeId, tookMs) => {
        const cached = this.current.cachedFiles[nodeId]?.includes(model) ?? false
        parts.loadTimes.loaded(model, tookMs, cached)
        parts.metrics.loaded(model, tookMs)
      },
    })
  }

  get state(): ClusterState {
    return this.current
  }

  /** Aborts when nothing changes any more. */
  get over(): AbortSignal {
    return this.ending.signal
  }

  get policy(): Policy {
    return this.parts.policy
  }

  get nowMs(): number {
    return this.parts.clock.monotonic()
  }

  /** On the monotonic clock; undefined when the instance is not being loaded. */
  loadStartedMs(instanceId: string): number | undefined {
    return this.effects.startedMs.get(instanceId)
  }

  /** Calls back after each change of the state. */
  watch(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  post(event: SchedulerEvent): void {
    if (this.over.aborted) return
    const nowMs = this.parts.clock.monotonic()
    const before = this.current
    const decision = decide(before, event, this.parts.policy, nowMs)
    this.current = decision.state
    this.journal.event({ atMs: nowMs, event }, before)
    this.journal.decided(this.parts.clock.now(), decision.records)
    const tookMs = this.parts.clock.monotonic() - nowMs
    this.parts.metrics.decided(decision, { event, before, nowMs, tookMs })
    for (const action of decision.actions) this.perform(action)
    for (const listener of this.listeners) listener()
    this.resolveReady()
    this.wakeInTime(nowMs)
    if (event.kind === 'instance-gone') this.wantForWaiters(event.instanceId, before)
  }

  /** Whoever still waits has the model wanted: what became of its instance was no answer to them. */
  private wantForWaiters(instanceId: string, { instances }: ClusterState): void {
    const spec = instances.find(({ id }) => id === instanceId)?.spec
    if (!spec || !this.waiters.has(spec.name)) return
    const { instances: now, waiting } = this.current
    const isComing =
      waiting.some((one) => one.spec.name === spec.name) ||
      now.some((one) => one.spec.name === spec.name && (one.state === 'loading' || one.state === 'ready'))
    if (!isComing) this.post({ kind: 'model-wanted', spec })
  }

  /** Resolves when an instance of the model is ready; rejects when it is known that none will be. */
  waitFor(model: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const ended = [this.over, signal].find(({ aborted }) => aborted)
      if (ended) return reject(ended.reason)
      const leave = () => {
        this.forget(model, waiter)
        reject(signal.reason)
      }
      const waiter: Waiter = {
        resolve: () => {
          signal.removeEventListener('abort', leave)
          resolve()
        },
        reject: (error) => {
          signal.removeEventListener('abort', leave)
          reject(error)
        },
      }
      signal.addEventListener('abort', leave, { once: true })
      const waiting = this.waiters.get(model) ?? new Set()
      this.waiters.set(model, waiting.add(waiter))
    })
  }

  /** Takes no event any more and refuses whoever still waits; what runs goes on. */
  leave(): void {
    const reason = new HelixError('server_draining', 'The server is shutting down.', { retryAfterMs: 250 })
    this.ending.abort(reason)
    this.cancelWake?.()
    for (const model of [...this.waiters.keys()]) this.reject(model, reason)
  }

  /** Ends every engine. */
  async stop(): Promise<void> {
    this.leave()
    const stops = this.current.instances.map(({ id, nodeId }) => this.parts.nodes.get(nodeId)?.stop(id))
    for (const stop of await Promise.allSettled(stops)) {
      if (stop.status === 'rejected')
        this.parts.log.error('engine did not stop', { cause: String(stop.reason) })
    }
  }

  private perform(action: SchedulerAction): void {
    switch (action.kind) {
      case 'load':
        this.effects.load(action)
        break
      case 'unload':
        this.effects.unload(action.instanceId, action.nodeId)
        break
      case 'quarantine':
        this.effects.quarantine(action.model, crashedTimes(action.crashes))
        this.reject(action.model, quarantined(action.model, crashedTimes(action.crashes)))
        break
      case 'cache-file':
        this.effects.cacheFile(action.model, action.nodeId)
        break
      case 'refuse':
        this.reject(action.model, refusalError(action.model, action.refusal))
        break
    }
  }

  private resolveReady(): void {
    for (const { spec, state } of this.current.instances) {
      if (state !== 'ready') continue
      for (const waiter of this.take(spec.name)) waiter.resolve()
    }
  }

  private reject(model: string, error: HelixError): void {
    for (const waiter of this.take(model)) waiter.reject(error)
  }

  private take(model: string): Iterable<Waiter> {
    const waiting = this.waiters.get(model) ?? new Set()
    this.waiters.delete(model)
    return waiting
  }

  private forget(model: string, waiter: Waiter): void {
    const waiting = this.waiters.get(model)
    if (!waiting?.delete(waiter) || waiting.size > 0) return
    this.waiters.delete(model)
    this.post({ kind: 'model-unwanted', model })
  }

  /** @param nowMs when the decision was made: what fell due since then must not be taken for done */
  private wakeInTime(nowMs: number): void {
    this.cancelWake?.()
    const wakeMs = nextWakeMs(this.current, this.parts.policy, nowMs)
    if (wakeMs === undefined) return
    const delayMs = Math.min(DELAY_MAX_MS, Math.max(1, wakeMs - nowMs))
    this.cancelWake = this.parts.clock.schedule(delayMs, () => this.post({ kind: 'time-passed' }))
  }
}

interface Waiter {
  resolve(): void
  reject(error: unknown): void
}

export function quarantined(model: string, because: string): HelixError {
  return new HelixError(
    'model_quarantined',
    `The model '${model}' ${because} and is not loaded any more. ` +
      `Once the cause is mended, 'helixflow models load ${model}' puts it back.`,
  )
}

/** Why a model is in quarantine, as it is kept beside its file. */
export function crashedTimes(crashes: number): string {
  return `crashed its engine ${crashes} times`
}

function refusalError(model: string, refusal: Refusal): HelixError {
  if (refusal.kind === 'overdue') {
    return new HelixError('engine_failed', `The model '${model}' did not become ready in time.`)
  }
  if (refusal.kind === 'unloaded') {
    return new HelixError('model_unavailable', `The model '${model}' was unloaded while it was waited for.`)
  }
  if (refusal.kind === 'no-device') {
    return new HelixError(
      'model_does_not_fit',
      `There is no device to run the model '${model}' on: none that its settings allow, with its file, is there.`,
    )
  }
  const [needed, largest] = [refusal.neededBytes, refusal.largestBytes].map((bytes) =>
    (bytes / 2 ** 20).toFixed(0),
  )
  return new HelixError(
    'model_does_not_fit',
    `The model '${model}' needs ${needed} MiB and the most that its devices could give it is ${largest} MiB. ` +
      'A smaller contextLength or fewer slots need less.',
  )
}

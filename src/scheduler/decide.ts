import type { SchedulerAction } from './actions.ts'
import type { GoneReason, SchedulerEvent } from './events.ts'
import { chooseVictims } from './eviction.ts'
import type { Placement } from './placement/placement.ts'
import type { Policy } from './policy.ts'
import {
  type ClusterState,
  type Instance,
  type ModelHistory,
  type ModelSpec,
  NO_ARRIVALS,
  type Purpose,
  type WaitingModel,
} from './state.ts'
import { viewOf } from './view.ts'

export interface Decision {
  readonly state: ClusterState
  readonly actions: readonly SchedulerAction[]
}

/**
 * The whole scheduler: what happens to the state, and what is to be done about it. Pure; `nowMs` is any clock that
 * does not go back.
 */
export function decide(state: ClusterState, event: SchedulerEvent, policy: Policy, nowMs: number): Decision {
  const applied = apply(state, event, policy, nowMs)
  const expired = endIdleAndOverdue(applied.state, policy, nowMs)
  const drained = unloadDrained(expired.state, policy, nowMs)
  const placed = placeWaiting(drained.state, policy, nowMs)
  return {
    state: placed.state,
    actions: [...applied.actions, ...expired.actions, ...drained.actions, ...placed.actions],
  }
}

/** When `decide` must be called again even if nothing happens; undefined when never. */
export function nextWakeMs(state: ClusterState, nowMs: number): number | undefined {
  const times = [
    ...state.instances.map((instance) => instance.deadlineMs ?? idleEndMs(instance)),
    ...state.waiting.map((waiting) => waiting.notBeforeMs).filter((time) => time > nowMs),
  ].filter((time): time is number => time !== undefined)
  return times.length > 0 ? Math.min(...times) : undefined
}

/** When the keep-alive of an idle ready instance ends; undefined while it is busy or not ready. */
export function idleEndMs(instance: Instance): number | undefined {
  if (instance.state !== 'ready' || instance.inFlight > 0 || instance.spec.pinned) return undefined
  return instance.lastUsedMs + instance.spec.keepAliveMs
}

function apply(state: ClusterState, event: SchedulerEvent, policy: Policy, nowMs: number): Decision {
  switch (event.kind) {
    case 'model-wanted':
      return unchanged(
        want(state, { spec: event.spec, purpose: 'demand', sinceMs: nowMs, notBeforeMs: nowMs }),
      )
    case 'model-unwanted':
      return unchanged(withoutWaiting(state, event.model))
    case 'instance-ready':
      return unchanged(
        update(state, event.instanceId, (instance) =>
          instance.state === 'loading'
            ? {
                ...instance,
                state: 'ready',
                shares: event.shares ?? instance.shares,
                deadlineMs: undefined,
                readySinceMs: nowMs,
                lastUsedMs: nowMs,
              }
            : instance,
        ),
      )
    case 'use-changed':
      return unchanged(
        update(state, event.instanceId, (instance) => ({
          ...instance,
          inFlight: event.inFlight,
          used: instance.used || event.inFlight > 0,
          lastUsedMs: nowMs,
        })),
      )
    case 'unload-asked':
      return unchanged(unloadAsked(state, event.model))
    case 'crashes-forgiven':
      return unchanged(withHistory(state, event.model, { crashes: [] }))
    case 'instance-gone':
      return gone(state, event, policy, nowMs)
    case 'devices-changed':
    case 'node-lost':
    case 'instance-adopted':
    case 'files-cached':
    case 'models-known':
    case 'defragment-asked':
    case 'demand':
    case 'time-passed':
      return unchanged(state)
  }
}

function unchanged(state: ClusterState): Decision {
  return { state, actions: [] }
}

function want(state: ClusterState, waiting: WaitingModel): ClusterState {
  const { name } = waiting.spec
  const served = state.instances.some(
    ({ spec, state: phase }) => spec.name === name && (phase === 'loading' || phase === 'ready'),
  )
  if (served || state.waiting.some(({ spec }) => spec.name === name)) return state
  const history = state.models[name] ?? { ...UNKNOWN, spec: waiting.spec }
  const models = { ...state.models, [name]: { ...history, spec: waiting.spec } }
  return { ...state, models, waiting: [...state.waiting, waiting] }
}

const UNKNOWN: Omit<ModelHistory, 'spec'> = {
  crashes: [],
  inFlight: 0,
  queued: 0,
  spareSinceMs: undefined,
  arrivals: NO_ARRIVALS,
}

function withHistory(state: ClusterState, model: string, change: Partial<ModelHistory>): ClusterState {
  const history = state.models[model]
  return history ? { ...state, models: { ...state.models, [model]: { ...history, ...change } } } : state
}

function withoutWaiting(state: ClusterState, model: string): ClusterState {
  return { ...state, waiting: state.waiting.filter((waiting) => waiting.spec.name !== model) }
}

function unloadAsked(state: ClusterState, model: string): ClusterState {
  const instances = state.instances.map((instance) =>
    instance.spec.name === model && instance.state === 'ready'
      ? { ...instance, state: 'draining' as const }
      : instance,
  )
  return { ...withoutWaiting(state, model), instances }
}

function gone(
  state: ClusterState,
  event: { readonly instanceId: string; readonly why: GoneReason },
  policy: Policy,
  nowMs: number,
): Decision {
  const instance = state.instances.find(({ id }) => id === event.instanceId)
  if (!instance) return unchanged(state)
  const without = { ...state, instances: state.instances.filter(({ id }) => id !== event.instanceId) }
  const wasWanted = instance.state === 'loading' || instance.state === 'ready'
  if (event.why === 'stopped' || event.why === 'failed' || !wasWanted) return unchanged(without)
  const model = instance.spec.name
  const earlier = (state.models[model]?.crashes ?? []).filter((time) => time > nowMs - policy.crashWindowMs)
  const crashes = event.why === 'crashed' ? [...earlier, nowMs] : earlier
  const remembered = withHistory(without, model, { crashes })
  if (crashes.length >= policy.crashesMax) {
    return {
      state: withoutWaiting(remembered, model),
      actions: [{ kind: 'quarantine', model, crashes: crashes.length }],
    }
  }
  const pauseMs =
    crashes.length === 0
      ? 0
      : Math.min(policy.crashPauseMaxMs, policy.crashPauseMs * 2 ** (crashes.length - 1))
  return unchanged(
    want(remembered, {
      spec: instance.spec,
      purpose: 'demand',
      sinceMs: nowMs,
      notBeforeMs: nowMs + pauseMs,
    }),
  )
}

/** Ends what idled for its keep-alive and what took too long. */
function endIdleAndOverdue(state: ClusterState, policy: Policy, nowMs: number): Decision {
  const actions: SchedulerAction[] = []
  const instances = state.instances.map((instance): Instance => {
    const idleEnd = idleEndMs(instance)
    if (idleEnd !== undefined && idleEnd <= nowMs) return { ...instance, state: 'draining' }
    if (instance.deadlineMs === undefined || instance.deadlineMs > nowMs) return instance
    actions.push({ kind: 'unload', instanceId: instance.id, nodeId: instance.nodeId })
    return { ...instance, state: 'unloading', deadlineMs: nowMs + policy.transitionTimeoutMs }
  })
  return { state: { ...state, instances }, actions }
}

function unloadDrained(state: ClusterState, policy: Policy, nowMs: number): Decision {
  const actions: SchedulerAction[] = []
  const instances = state.instances.map((instance): Instance => {
    if (instance.state !== 'draining' || instance.inFlight > 0) return instance
    actions.push({ kind: 'unload', instanceId: instance.id, nodeId: instance.nodeId })
    return { ...instance, state: 'unloading', deadlineMs: nowMs + policy.transitionTimeoutMs }
  })
  return { state: { ...state, instances }, actions }
}

/** Places waiting models in the order they came; makes room for the first that does not fit. */
function placeWaiting(state: ClusterState, policy: Policy, nowMs: number): Decision {
  const actions: SchedulerAction[] = []
  let current = state
  for (const waiting of state.waiting) {
    if (waiting.notBeforeMs > nowMs) continue
    const { name } = waiting.spec
    const placement = policy.place(viewOf(current, nowMs), waiting.spec)
    if (placement.kind === 'placed') {
      const [next, action] = load(current, waiting, placement, nowMs + policy.transitionTimeoutMs)
      current = next
      actions.push(action)
    } else if (placement.reason === 'memory-exhausted') {
      const room = makeRoom(current, waiting, policy, nowMs)
      // Nothing behind it is placed first: a stream of small models would starve a large one.
      return { state: room.state, actions: [...actions, ...room.actions] }
    } else {
      const { reason, neededBytes, largestBytes } = placement
      const refusal = reason === 'no-device' ? { kind: reason } : { kind: reason, neededBytes, largestBytes }
      actions.push({ kind: 'refuse', model: name, refusal })
      current = withoutWaiting(current, name)
    }
  }
  return { state: current, actions }
}

function load(
  state: ClusterState,
  { spec, purpose }: { readonly spec: ModelSpec; readonly purpose: Purpose },
  { nodeId, shares }: Extract<Placement, { kind: 'placed' }>,
  deadlineMs: number,
): readonly [ClusterState, SchedulerAction] {
  const id = `${spec.name}-${state.nextInstance}`
  const instance: Instance = {
    ...{ id, spec, nodeId, shares, purpose, deadlineMs, state: 'loading' },
    ...{ inFlight: 0, used: false, readySinceMs: undefined, lastUsedMs: 0, worth: 0 },
  }
  const next = {
    ...withoutWaiting(state, spec.name),
    instances: [...state.instances, instance],
    nextInstance: state.nextInstance + 1,
  }
  return [next, { kind: 'load', instanceId: id, spec, nodeId, shares, purpose }]
}

function makeRoom(
  state: ClusterState,
  { spec, sinceMs }: WaitingModel,
  policy: Policy,
  nowMs: number,
): Decision {
  const plan = chooseVictims(viewOf(state, nowMs), spec, policy.evict, nowMs - sinceMs)
  const victims = new Set(plan?.victims.map(({ id }) => id))
  const instances = state.instances.map((instance) =>
    victims.has(instance.id) ? { ...instance, state: 'draining' as const } : instance,
  )
  return unloadDrained({ ...state, instances }, policy, nowMs)
}

function update(state: ClusterState, id: string, change: (instance: Instance) => Instance): ClusterState {
  return {
    ...state,
    instances: state.instances.map((instance) => (instance.id === id ? change(instance) : instance)),
  }
}

import { describe, expect, test } from 'vitest'
import { device, model, plainPolicy } from '../../test/support/cluster.ts'
import { type Decision, decide, nextWakeMs } from './decide.ts'
import type { GoneReason, SchedulerEvent } from './events.ts'
import { type ClusterState, emptyCluster, type ModelSpec } from './state.ts'

/** What was decided at each of the events, given with their times. */
function run(start: ClusterState, events: readonly (readonly [number, SchedulerEvent])[]) {
  let decision: Decision = { state: start, actions: [], records: [] }
  const steps = events.map(([nowMs, event]) => {
    decision = decide(decision.state, event, plainPolicy, nowMs)
    return decision.actions.map((action) =>
      'instanceId' in action
        ? `${action.kind} ${action.instanceId}`
        : action.kind === 'refuse'
          ? `refuse ${action.model} ${action.refusal.kind}`
          : action.kind,
    )
  })
  return { state: decision.state, steps, last: steps.at(-1) }
}

const wanted = (spec: ModelSpec): SchedulerEvent => ({ kind: 'model-wanted', spec })
const known = (...specs: ModelSpec[]): SchedulerEvent => ({ kind: 'models-known', specs })
const ready = (instanceId: string): SchedulerEvent => ({ kind: 'instance-ready', instanceId })
const use = (instanceId: string): SchedulerEvent => ({ kind: 'use-changed', instanceId, inFlight: 1 })
const gone = (instanceId: string, why: GoneReason): SchedulerEvent => ({
  ...{ kind: 'instance-gone', instanceId, why },
})
const unloadAsked: SchedulerEvent = { kind: 'unload-asked', model: 'a' }
const demand = (name: string, inFlight: number): SchedulerEvent => ({
  ...{ kind: 'demand', calendarMs: 0, models: [{ model: name, arrivals: 0, inFlight, queued: 0 }] },
})
const tick: SchedulerEvent = { kind: 'time-passed' }
const oneDevice = emptyCluster([device('x', 100)])

describe('what nobody asked for', () => {
  const owed = model('a', 30, { replicasMin: 1 })

  test.each(['failed', 'killed'] as const)('and %s while it loaded is not tried again at once', (why) => {
    const { steps } = run(oneDevice, [
      [0, known(owed)],
      [1, gone('a-1', why)],
      [1_000, known(owed)],
      [59_999, known(owed)],
      [60_001, known(owed)],
    ])
    expect(steps).toEqual([['load a-1'], [], [], [], ['load a-2']])
  })

  test('is loaded as soon as somebody asks, whatever failed before', () => {
    const { last } = run(oneDevice, [
      [0, known(owed)],
      [1, gone('a-1', 'failed')],
      [2, wanted(owed)],
    ])
    expect(last).toEqual(['load a-2'])
  })

  test('pauses after a crash also where another one of the model serves', () => {
    const two = model('a', 30, { replicasMin: 2, replicasMax: 2 })
    const { steps } = run(oneDevice, [
      [0, known(two)],
      [1, ready('a-1')],
      [2, gone('a-2', 'crashed')],
      [502, tick],
    ])
    expect(steps.slice(2)).toEqual([[], ['load a-3']])
  })

  test('is no further replica of a model that is in quarantine', () => {
    const busy = model('a', 10, { replicasMax: 3, slots: 1, keepAliveMs: 1e6 })
    const { last } = run(oneDevice, [
      [0, wanted(busy)],
      [1, ready('a-1')],
      [2, demand('a', 2)],
      [3, gone('a-2', 'crashed')],
      [2_000, demand('a', 2)],
      [2_001, gone('a-3', 'crashed')],
      [9_000, demand('a', 2)],
      [9_001, gone('a-4', 'crashed')],
      [20_000, demand('a', 2)],
    ])
    expect(last).toEqual([])
  })
})

describe('whoever waits', () => {
  test('for a load that never ends is refused when it is given up', () => {
    const { last } = run(oneDevice, [
      [0, wanted(model('a', 50))],
      [60_000, tick],
    ])
    expect(last).toEqual(['unload a-1', 'refuse a overdue'])
  })

  test('for a model that is being loaded is refused when the operator unloads it, and it does not come', () => {
    const { steps, state } = run(oneDevice, [
      [0, wanted(model('a', 50))],
      [1, unloadAsked],
      [2, ready('a-1')],
      [3, gone('a-1', 'stopped')],
    ])
    expect(steps[1]).toEqual(['refuse a unloaded', 'unload a-1'])
    expect(state.instances).toEqual([])
  })

  test('for memory for a model is refused when the operator unloads it', () => {
    const { last, state } = run(oneDevice, [
      [0, wanted(model('b', 80))],
      [1, ready('b-1')],
      [2, use('b-1')],
      [3, wanted(model('a', 50))],
      [4, unloadAsked],
    ])
    expect(last).toEqual(['refuse a unloaded'])
    expect(state.waiting).toEqual([])
  })

  test('has the time to use a model that is unloaded as soon as it idles', () => {
    const hasty = model('a', 50, { keepAliveMs: 0 })
    const { steps, state } = run(oneDevice, [
      [0, wanted(hasty)],
      [10, ready('a-1')],
    ])
    expect(steps[1]).toEqual([])
    expect(nextWakeMs(state, plainPolicy, 10)).toBe(2_010)
  })

  test('for memory is given a place on a node that came later and has the file too', () => {
    const spec = model('a', 60)
    const start = emptyCluster([device('x', 100), device('y', 100, { nodeId: 'other' })])
    const { last } = run(start, [
      [0, wanted(model('b', 80, { pinned: true }))],
      [1, ready('b-1')],
      [2, wanted(spec)],
      [3, known({ ...spec, nodes: ['node', 'other'] })],
    ])
    expect(last).toEqual(['load a-2'])
  })
})

test('what a lost node ran is loaded where the file is by now', () => {
  const spec = model('a', 60)
  const start = emptyCluster([device('x', 100), device('y', 100, { nodeId: 'other' })])
  const { last } = run(start, [
    [0, wanted(spec)],
    [1, ready('a-1')],
    [2, use('a-1')],
    [3, known({ ...spec, nodes: ['node', 'other'] })],
    [4, { kind: 'node-lost', nodeId: 'node' }],
  ])
  expect(last).toEqual(['load a-2'])
})

test('a replica too many goes only when what stays is ready', () => {
  const spec = model('a', 10, { replicasMax: 2, slots: 1, keepAliveMs: 1e6 })
  const { steps } = run(oneDevice, [
    [0, wanted(spec)],
    [1, ready('a-1')],
    [2, demand('a', 2)],
    [3, demand('a', 0)],
    [60_001, demand('a', 0)],
  ])
  expect(steps[2]).toEqual(['load a-2'])
  expect(steps[4]).toEqual([])
})

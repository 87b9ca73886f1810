import { describe, expect, test } from 'vitest'
import { device, model as modelOf, plainPolicy as policy } from '../../test/support/cluster.ts'
import { seededRandom } from '../core/random.ts'
import type { SchedulerAction } from './actions.ts'
import { type Decision, decide, nextWakeMs } from './decide.ts'
import type { GoneReason, SchedulerEvent } from './events.ts'
import { type ClusterState, emptyCluster, type ModelSpec } from './state.ts'
import { viewOf } from './view.ts'

function model(name: string, memoryBytes: number, keepAliveMs = 10_000): ModelSpec {
  return modelOf(name, memoryBytes, { keepAliveMs })
}

/** Runs events given as [time, event] and keeps every action with the time it was decided. */
function run(start: ClusterState, events: readonly (readonly [number, SchedulerEvent])[]) {
  let decision: Decision = { state: start, actions: [], records: [] }
  const actions: SchedulerAction[] = []
  for (const [nowMs, event] of events) {
    decision = decide(decision.state, event, policy, nowMs)
    actions.push(...decision.actions)
  }
  return { state: decision.state, actions, last: decision.actions }
}

const gone = (instanceId: string, why: GoneReason): SchedulerEvent => ({
  kind: 'instance-gone',
  instanceId,
  why,
})
const wanted = (spec: ModelSpec): SchedulerEvent => ({ kind: 'model-wanted', spec })
const ready = (instanceId: string): SchedulerEvent => ({ kind: 'instance-ready', instanceId })
const use = (instanceId: string, inFlight: number): SchedulerEvent => ({
  kind: 'use-changed',
  instanceId,
  inFlight,
})
const tick: SchedulerEvent = { kind: 'time-passed' }
const oneDevice = emptyCluster([device('cpu', 100)])

describe('loading', () => {
  test('a model wanted twice is loaded once', () => {
    const { actions } = run(oneDevice, [
      [0, wanted(model('a', 60))],
      [1, wanted(model('a', 60))],
    ])
    expect(actions).toEqual([
      {
        ...{ kind: 'load', instanceId: 'a-1', spec: model('a', 60), nodeId: 'node', purpose: 'demand' },
        shares: [{ deviceId: 'cpu', bytes: 60 }],
      },
    ])
  })

  test('several models live side by side as memory allows', () => {
    const { state } = run(oneDevice, [
      [0, wanted(model('a', 60))],
      [1, wanted(model('b', 40))],
    ])
    expect(state.instances.map(({ id }) => id)).toEqual(['a-1', 'b-2'])
  })

  test('a model larger than every device is refused at once, with the numbers', () => {
    const { actions, state } = run(oneDevice, [[0, wanted(model('huge', 101))]])
    expect(actions).toEqual([
      {
        kind: 'refuse',
        model: 'huge',
        refusal: { kind: 'larger-than-any-device', neededBytes: 101, largestBytes: 100 },
      },
    ])
    expect(state.waiting).toEqual([])
  })

  test('a model nobody waits for any more is not loaded', () => {
    const { actions } = run(oneDevice, [
      [0, wanted(model('a', 100))],
      [1, ready('a-1')],
      [2, use('a-1', 1)],
      [3, wanted(model('b', 100))],
      [4, { kind: 'model-unwanted', model: 'b' }],
      [5, use('a-1', 0)],
      [6, gone('a-1', 'stopped')],
    ])
    expect(actions.map(({ kind }) => kind)).toEqual(['load', 'unload'])
  })
})

describe('making room', () => {
  const twoLoaded: readonly (readonly [number, SchedulerEvent])[] = [
    [0, wanted(model('a', 50))],
    [0, wanted(model('b', 50))],
    [1, ready('a-1')],
    [1, use('a-1', 1)],
    [1, use('a-1', 0)],
    [2, ready('b-2')],
    [2, use('b-2', 1)],
    [2, use('b-2', 0)],
  ]

  test('the idle model that was used longest ago goes', () => {
    const { last } = run(oneDevice, [
      ...twoLoaded,
      [3, use('a-1', 1)],
      [4, use('a-1', 0)],
      [5, wanted(model('c', 50))],
    ])
    expect(last).toEqual([{ kind: 'unload', instanceId: 'b-2', nodeId: 'node' }])
  })

  test('an idle model goes before a busy one, whatever their age', () => {
    const { last } = run(oneDevice, [...twoLoaded, [3, use('a-1', 1)], [9, wanted(model('c', 50))]])
    expect(last).toEqual([{ kind: 'unload', instanceId: 'b-2', nodeId: 'node' }])
  })

  test('a busy model is drained: it ends its requests, takes no new ones, then goes', () => {
    const before = run(oneDevice, [
      ...twoLoaded,
      [3, use('a-1', 1)],
      [4, use('b-2', 1)],
      [5, wanted(model('c', 50))],
    ])
    expect(before.last).toEqual([])
    expect(before.state.instances.find(({ id }) => id === 'a-1')?.state).toBe('draining')
    const after = run(before.state, [
      [6, use('a-1', 0)],
      [7, gone('a-1', 'stopped')],
    ])
    expect(after.actions.map(({ kind }) => kind)).toEqual(['unload', 'load'])
  })

  test('memory is not given away before the process that holds it is gone', () => {
    const { state } = run(oneDevice, [...twoLoaded, [5, wanted(model('c', 50))], [6, tick]])
    expect(state.instances.map(({ id }) => id)).toEqual(['a-1', 'b-2'])
    expect(run(state, [[7, gone('a-1', 'stopped')]]).last).toMatchObject([
      { kind: 'load', instanceId: 'c-3' },
    ])
  })

  test('a large model that waits is not overtaken by small ones for ever', () => {
    const { last } = run(oneDevice, [
      ...twoLoaded,
      [5, wanted(model('large', 100))],
      [6, wanted(model('small', 1))],
    ])
    expect(last).toEqual([])
  })
})

describe('keep-alive', () => {
  test('ends when the model idled for its time, counted from its last use', () => {
    const used = run(oneDevice, [
      [0, wanted(model('a', 50, 1_000))],
      [10, ready('a-1')],
      [20, use('a-1', 1)],
      [5_000, use('a-1', 0)],
    ])
    expect(nextWakeMs(used.state, policy, 5_000)).toBe(6_000)
    expect(run(used.state, [[5_999, tick]]).actions).toEqual([])
    expect(run(used.state, [[6_000, tick]]).actions).toEqual([
      { kind: 'unload', instanceId: 'a-1', nodeId: 'node' },
    ])
  })
})

describe('failure', () => {
  test('a crashed model comes back after a pause that doubles up to its maximum', () => {
    const first = run(oneDevice, [
      [0, wanted(model('a', 50))],
      [10, ready('a-1')],
      [1_000, gone('a-1', 'crashed')],
    ])
    expect(nextWakeMs(first.state, policy, 1_000)).toBe(1_500)
    const second = run(first.state, [
      [1_500, tick],
      [1_600, gone('a-2', 'crashed')],
    ])
    expect(second.actions.map(({ kind }) => kind)).toEqual(['load'])
    expect(nextWakeMs(second.state, policy, 1_600)).toBe(2_600)
    const patient = { ...policy, crashesMax: 100 }
    const third = decide(
      decide(second.state, tick, patient, 2_600).state,
      gone('a-3', 'crashed'),
      patient,
      3_000,
    )
    expect(nextWakeMs(third.state, policy, 3_000)).toBe(4_200)
  })

  test('the third crash in the window quarantines the model; an older one does not count', () => {
    const crash = (n: number, atMs: number) =>
      [
        [atMs, wanted(model('a', 50))],
        [atMs + 10_000, tick],
        [atMs + 10_001, gone(`a-${n}`, 'crashed')],
      ] as const
    const quick = run(oneDevice, [...crash(1, 0), ...crash(2, 20_000), ...crash(3, 40_000)])
    expect(quick.last).toEqual([{ kind: 'quarantine', model: 'a', crashes: 3 }])
    const slow = run(oneDevice, [...crash(1, 0), ...crash(2, 20_000), ...crash(3, 700_000)])
    expect(slow.actions.some(({ kind }) => kind === 'quarantine')).toBe(false)
  })

  test('an engine that somebody else killed comes back at once and is not held against the model', () => {
    const { last, state } = run(oneDevice, [
      [0, wanted(model('a', 50))],
      [1, ready('a-1')],
      [2, gone('a-1', 'killed')],
    ])
    expect(last).toMatchObject([{ kind: 'load', instanceId: 'a-2' }])
    expect(state.models['a']?.crashes).toEqual([])
  })

  test('an engine that dies after it idled is loaded when it is asked for, and after its pause', () => {
    const idle = run(oneDevice, [
      [0, wanted(model('a', 50, 1e9))],
      [1, ready('a-1')],
      [10_001, gone('a-1', 'crashed')],
      [20_000, tick],
    ])
    expect(idle.actions.map(({ kind }) => kind)).toEqual(['load'])
    const asked = run(oneDevice, [
      [0, wanted(model('a', 50, 1e9))],
      [1, ready('a-1')],
      [10_001, gone('a-1', 'crashed')],
      [10_002, wanted(model('a', 50))],
    ])
    expect(asked.last).toEqual([])
    expect(nextWakeMs(asked.state, policy, 10_002)).toBe(10_501)
  })

  test('a load that never ends is given up', () => {
    const { actions } = run(oneDevice, [
      [0, wanted(model('a', 50))],
      [60_000, tick],
    ])
    expect(actions.map(({ kind }) => kind)).toEqual(['load', 'unload', 'refuse'])
  })
})

describe('invariants, over random events in random order', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('seed %i', (seed) => {
    const random = seededRandom(seed)
    const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(random.uniform() * items.length)]
    const specs = [model('a', 30, 500), model('b', 50, 500), model('c', 80, 500), model('d', 120, 500)]
    let state = emptyCluster([device('x', 100), device('y', 60)])
    const loaded = new Set<string>()
    for (let nowMs = 0; nowMs < 20_000; nowMs += Math.floor(random.uniform() * 20)) {
      const instance = pick(state.instances)
      const events: (SchedulerEvent | undefined)[] = [
        wanted(pick(specs) ?? model('a', 30)),
        instance && ready(instance.id),
        instance && (instance.state === 'ready' || instance.state === 'draining')
          ? use(instance.id, Math.floor(random.uniform() * 3))
          : undefined,
        instance && gone(instance.id, pick(['crashed', 'failed', 'killed', 'stopped'] as const) ?? 'stopped'),
        { kind: 'unload-asked', model: pick(specs)?.name ?? 'a' },
        { kind: 'model-unwanted', model: pick(specs)?.name ?? 'a' },
        { kind: 'crashes-forgiven', model: pick(specs)?.name ?? 'a' },
        tick,
      ]
      const before = JSON.stringify(state)
      const event = pick(events) ?? tick
      const decision = decide(state, event, policy, nowMs)
      expect(JSON.stringify(state), 'the given state is never changed').toBe(before)
      expect(decide(state, event, policy, nowMs), 'the same input gives the same decision').toEqual(decision)
      state = decision.state
      for (const action of decision.actions) {
        if (action.kind !== 'load') continue
        expect(loaded.has(action.instanceId), 'no instance id is used twice').toBe(false)
        loaded.add(action.instanceId)
      }
      for (const free of viewOf(state, nowMs).freeBytes.values()) expect(free).toBeGreaterThanOrEqual(0)
      for (const { state: phase, deadlineMs, inFlight } of state.instances) {
        if (phase === 'loading' || phase === 'unloading') expect(deadlineMs).toBeGreaterThan(nowMs)
        if (phase === 'draining')
          expect(inFlight, 'draining ends as soon as nothing is in flight').toBeGreaterThan(0)
      }
      for (const waiting of state.waiting) {
        const serving = state.instances.filter(
          (one) => one.spec.name === waiting.spec.name && (one.state === 'ready' || one.state === 'loading'),
        )
        expect(serving, 'nobody waits for a model that is there').toEqual([])
      }
    }
    expect(loaded.size).toBeGreaterThan(20)
  })
})

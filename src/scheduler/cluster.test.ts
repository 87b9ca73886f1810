import { describe, expect, test } from 'vitest'
import { device, instance, model, plainPolicy } from '../../test/support/cluster.ts'
import { seededRandom } from '../core/random.ts'
import type { SchedulerAction } from './actions.ts'
import { type Decision, decide, nextWakeMs } from './decide.ts'
import type { SchedulerEvent } from './events.ts'
import type { Policy } from './policy.ts'
import { type ClusterState, emptyCluster, type Instance, type MovePlan } from './state.ts'
import { viewOf } from './view.ts'

/** A cluster that is told what happens, and whose time the test keeps. */
class Told {
  decision: Decision
  readonly actions: SchedulerAction[] = []

  constructor(
    start: ClusterState,
    private readonly policy: Policy = plainPolicy,
  ) {
    this.decision = { state: start, actions: [], records: [] }
  }

  at(nowMs: number, event: SchedulerEvent): this {
    this.decision = decide(this.decision.state, event, this.policy, nowMs)
    this.actions.push(...this.decision.actions)
    return this
  }

  get state(): ClusterState {
    return this.decision.state
  }

  get kinds(): readonly string[] {
    return this.decision.actions.map((action) =>
      'instanceId' in action ? `${action.kind} ${action.instanceId}` : action.kind,
    )
  }

  one(id: string): Instance | undefined {
    return this.state.instances.find((each) => each.id === id)
  }
}

const tick: SchedulerEvent = { kind: 'time-passed' }
const everywhere = { nodes: ['node', 'other'] }
const twoNodes = () => emptyCluster([device('x', 100), device('y', 100, { nodeId: 'other' })])

describe('nodes that come and go', () => {
  test('a lost node takes its instances with it, and what was in use is loaded elsewhere', () => {
    const told = new Told(twoNodes())
      .at(0, { kind: 'model-wanted', spec: model('a', 60, everywhere) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(2, { kind: 'use-changed', instanceId: 'a-1', inFlight: 2 })
      .at(3, { kind: 'node-lost', nodeId: 'node' })
    expect(told.kinds).toEqual(['load a-2'])
    expect(told.one('a-2')?.nodeId).toBe('other')
    expect(told.state.devices.map(({ id }) => id)).toEqual(['y'])
  })

  test('a node that comes back brings what still runs, under names that are not given again', () => {
    const spec = model('a', 60)
    const told = new Told(emptyCluster([]))
      .at(0, { kind: 'devices-changed', nodeId: 'node', devices: [device('x', 100)] })
      .at(1, {
        kind: 'instance-adopted',
        instance: { id: 'a-7', spec, nodeId: 'node', shares: [{ deviceId: 'x', bytes: 60 }] },
      })
    expect(told.one('a-7')?.state).toBe('ready')
    told.at(2, { kind: 'model-wanted', spec: model('b', 40) })
    expect(told.kinds).toEqual(['load b-8'])
  })

  test('what waited for a model is served by one that is adopted', () => {
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'model-wanted', spec: model('big', 90) })
      .at(1, { kind: 'model-wanted', spec: model('a', 60, everywhere) })
      .at(2, {
        kind: 'instance-adopted',
        instance: {
          ...{ id: 'a-9', spec: model('a', 60), nodeId: 'other' },
          shares: [{ deviceId: 'y', bytes: 60 }],
        },
      })
    expect(told.state.waiting).toEqual([])
  })

  test('a model is placed on nodes that hold its file, and nowhere else', () => {
    const told = new Told(twoNodes()).at(0, {
      kind: 'model-wanted',
      spec: model('a', 60, { nodes: ['other'] }),
    })
    expect(told.one('a-1')?.shares).toEqual([{ deviceId: 'y', bytes: 60 }])
    told.at(1, { kind: 'model-wanted', spec: model('b', 60, { nodes: ['gone'] }) })
    expect(told.decision.actions).toEqual([{ kind: 'refuse', model: 'b', refusal: { kind: 'no-device' } }])
  })
})

describe('devices', () => {
  test('of a lost device everything is ended and what was in use is loaded elsewhere', () => {
    const lost = device('x', 100, { health: 'lost' })
    const told = new Told(twoNodes())
      .at(0, { kind: 'model-wanted', spec: model('a', 60, everywhere) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(1, { kind: 'use-changed', instanceId: 'a-1', inFlight: 1 })
      .at(2, { kind: 'devices-changed', nodeId: 'node', devices: [lost] })
    expect(told.kinds).toEqual(['unload a-1', 'load a-2'])
    expect(told.one('a-2')?.nodeId).toBe('other')
  })

  test('a hot device keeps what it has and gets nothing new', () => {
    const told = new Told(twoNodes())
      .at(0, { kind: 'model-wanted', spec: model('a', 30, everywhere) })
      .at(1, { kind: 'devices-changed', nodeId: 'node', devices: [device('x', 100, { health: 'hot' })] })
      .at(2, { kind: 'model-wanted', spec: model('b', 30, everywhere) })
    expect(told.one('a-1')?.state).toBe('loading')
    expect(told.one('b-2')?.shares[0]?.deviceId).toBe('y')
  })

  test('foreign memory is not given away, and idle models go when it takes theirs', () => {
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'model-wanted', spec: model('a', 60) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(2, { kind: 'devices-changed', nodeId: 'node', devices: [device('x', 100, { foreignBytes: 50 })] })
    expect(told.kinds).toEqual(['unload a-1'])
    told
      .at(3, { kind: 'instance-gone', instanceId: 'a-1', why: 'stopped' })
      .at(4, { kind: 'model-wanted', spec: model('a', 60) })
    expect(told.actions.filter(({ kind }) => kind === 'load')).toHaveLength(1)
  })

  test('what an engine measures takes the place of what was reserved', () => {
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'model-wanted', spec: model('a', 60) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1', shares: [{ deviceId: 'x', bytes: 45 }] })
      .at(2, { kind: 'model-wanted', spec: model('b', 55) })
    expect(told.kinds).toEqual(['load b-2'])
  })
})

describe('how many', () => {
  test('the least number of a model is loaded without being asked for, and again when it dies', () => {
    const spec = model('a', 30, { replicasMin: 2, replicasMax: 2 })
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'models-known', specs: [spec] })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
    expect(told.state.instances.map(({ id, purpose }) => [id, purpose])).toEqual([
      ['a-1', 'minimum'],
      ['a-2', 'minimum'],
    ])
    told
      .at(2, { kind: 'instance-ready', instanceId: 'a-2' })
      .at(3, { kind: 'instance-gone', instanceId: 'a-1', why: 'killed' })
    expect(told.kinds).toEqual(['load a-3'])
    expect(nextWakeMs({ ...told.state, instances: [] }, plainPolicy, 3)).toBeUndefined()
  })

  test('one of the least number that fits nowhere is refused once a minute, not at every moment', () => {
    const spec = model('a', 300, { replicasMin: 1 })
    const told = new Told(emptyCluster([device('x', 100)])).at(0, { kind: 'models-known', specs: [spec] })
    for (let nowMs = 1_000; nowMs <= 60_000; nowMs += 1_000) {
      told.at(nowMs, { kind: 'demand', calendarMs: nowMs, models: [] })
    }
    expect(told.actions.filter(({ kind }) => kind === 'refuse')).toHaveLength(2)
  })

  test('a pinned model is neither unloaded by idling nor evicted', () => {
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'model-wanted', spec: model('a', 60, { pinned: true, keepAliveMs: 10 }) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(1_000_000, { kind: 'model-wanted', spec: model('b', 60) })
      .at(2_000_000, tick)
    expect(told.one('a-1')?.state).toBe('ready')
  })

  test('what the operator unloads stays away until somebody asks for it', () => {
    const spec = model('a', 30, { replicasMin: 1 })
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'models-known', specs: [spec] })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(2, { kind: 'unload-asked', model: 'a' })
      .at(3, { kind: 'instance-gone', instanceId: 'a-1', why: 'stopped' })
      .at(4, tick)
    expect(told.state.instances).toEqual([])
    told.at(5, { kind: 'model-wanted', spec })
    expect(told.kinds).toEqual(['load a-2'])
  })
})

describe('who makes room for whom', () => {
  const patient: Policy = { ...plainPolicy, evict: { by: 'lru', residencyMinMs: 0, swapWaitMs: 2_000 } }

  test('a busy model is worked off until the other has waited long enough', () => {
    const told = new Told(emptyCluster([device('x', 100)]), patient)
      .at(0, { kind: 'model-wanted', spec: model('a', 60) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(2, { kind: 'use-changed', instanceId: 'a-1', inFlight: 1 })
      .at(100, { kind: 'model-wanted', spec: model('b', 60) })
    expect(told.one('a-1')?.state).toBe('ready')
    expect(nextWakeMs(told.state, patient, 100)).toBe(2_100)
    told.at(2_100, tick)
    expect(told.one('a-1')?.state).toBe('draining')
  })

  test('the one of greater priority is placed first, and age makes up for priority', () => {
    const start = () => emptyCluster([device('x', 100)])
    const wait = (told: Told, lateMs: number) =>
      told
        .at(0, { kind: 'model-wanted', spec: model('a', 100) })
        .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
        .at(2, { kind: 'use-changed', instanceId: 'a-1', inFlight: 1 })
        .at(3, { kind: 'model-wanted', spec: model('low', 100, { priority: 0 }) })
        .at(lateMs, { kind: 'model-wanted', spec: model('high', 100, { priority: 5 }) })
        .at(lateMs + 1, { kind: 'use-changed', instanceId: 'a-1', inFlight: 0 })
        .at(lateMs + 2, { kind: 'instance-gone', instanceId: 'a-1', why: 'stopped' })
    expect(wait(new Told(start()), 10).kinds).toEqual(['load high-2'])
    expect(wait(new Told(start()), 60_000).kinds).toEqual(['load low-2'])
  })

  test('who waits for one node does not hold up who can go to another', () => {
    const told = new Told(twoNodes(), patient)
      .at(0, { kind: 'model-wanted', spec: model('a', 90) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(2, { kind: 'use-changed', instanceId: 'a-1', inFlight: 1 })
      .at(3, { kind: 'model-wanted', spec: model('b', 90) })
      .at(4, { kind: 'model-wanted', spec: model('c', 90, { nodes: ['other'] }) })
    expect(told.kinds).toEqual(['load c-2'])
  })
})

describe('a plan of moves', () => {
  const small = model('small', 30)
  const moved = { ...plainPolicy, transitionTimeoutMs: 1_000 }

  function withPlan(plan: Pick<MovePlan, 'model' | 'moves'>): ClusterState {
    const cluster = emptyCluster([device('x', 100), device('y', 50)])
    const instances = [instance(small, 'x', { id: 'small-1', inFlight: 1 })]
    const models = new Told(cluster).at(0, { kind: 'models-known', specs: [small] }).state.models
    const waiting = [{ spec: model('large', 100), purpose: 'demand' as const, sinceMs: 0, notBeforeMs: 0 }]
    const running = { ...plan, because: 'the test says so', step: 0, deadlineMs: 60_000, copyId: undefined }
    return { ...cluster, instances, models, waiting, plan: running, nextInstance: 2 }
  }

  const to = [{ deviceId: 'y', bytes: 30 }]

  test('loads the copy, drains the old one, and places the model in the hole: no request fails', () => {
    const move = { instanceId: 'small-1', nodeId: 'node', to, kind: 'copy-first' } as const
    const told = new Told(withPlan({ model: 'large', moves: [move] }), moved).at(1, tick)
    expect(told.kinds).toEqual(['load small-2'])
    expect(told.one('small-1')?.state).toBe('ready')
    told.at(2, { kind: 'instance-ready', instanceId: 'small-2' })
    expect(told.one('small-1')?.state).toBe('draining')
    told.at(3, { kind: 'use-changed', instanceId: 'small-1', inFlight: 0 })
    expect(told.kinds).toEqual(['unload small-1'])
    told.at(4, { kind: 'instance-gone', instanceId: 'small-1', why: 'stopped' })
    expect(told.kinds).toEqual(['load large-3'])
    expect(told.state.plan).toBeUndefined()
  })

  test('where there is no room for both, the old one drains first and is loaded again at its new place', () => {
    const move = { instanceId: 'small-1', nodeId: 'node', to, kind: 'drain-first' } as const
    const told = new Told(withPlan({ model: 'large', moves: [move] }), moved)
      .at(1, tick)
      .at(2, { kind: 'use-changed', instanceId: 'small-1', inFlight: 0 })
      .at(3, { kind: 'instance-gone', instanceId: 'small-1', why: 'stopped' })
    expect(told.kinds).toEqual(['load small-2', 'load large-3'])
  })

  test('is given up when its copy cannot be loaded, and at its deadline', () => {
    const move = { instanceId: 'small-1', nodeId: 'node', to, kind: 'copy-first' } as const
    const failed = new Told(withPlan({ model: 'large', moves: [move] }), moved)
      .at(1, tick)
      .at(2, { kind: 'instance-gone', instanceId: 'small-2', why: 'failed' })
    expect(failed.state.plan).toBeUndefined()
    const late = new Told(withPlan({ model: 'large', moves: [move] }), moved).at(1, tick).at(60_000, tick)
    expect(late.state.plan).toBeUndefined()
  })
})

describe('invariants, over random events of several nodes', () => {
  const policies: readonly Policy[] = [
    plainPolicy,
    {
      ...plainPolicy,
      evict: { by: 'gdsf', residencyMinMs: 200, swapWaitMs: 300 },
      defragment: { enabled: true, movesMax: 3, gainMin: 1, planTimeoutMs: 3_000 },
      prefetch: { enabled: true, wasteMax: 0.5, precisionMin: 0.1 },
      scale: { busyMax: 0.8, downAfterMs: 500 },
    },
  ]
  const seeds = [1, 2, 3, 4]

  test.each(policies.flatMap((policy) => seeds.map((seed) => ({ policy, seed }))))('seed $seed', (given) => {
    const { policy, seed } = given
    const random = seededRandom(seed)
    const below = (count: number) => Math.floor(random.uniform() * count)
    const pick = <T>(items: readonly T[]): T | undefined => items[below(items.length)]
    const specs = [20, 30, 45, 70, 90, 150].map((bytes, index) =>
      model(`m${index}`, bytes, {
        ...everywhere,
        ...{
          keepAliveMs: 700,
          splitMax: 2,
          perDeviceBytes: 5,
          replicasMax: index === 1 ? 1 : 1 + (index % 3),
        },
        ...{ pinned: index === 1, replicasMin: index === 0 ? 1 : 0, priority: index % 2 },
      }),
    )
    const devicesOf = (nodeId: string) => [
      device(`${nodeId}-0`, 100, { nodeId, kind: 'cuda', foreignBytes: below(4) === 0 ? 40 : 0 }),
      device(`${nodeId}-1`, 80, {
        nodeId,
        kind: 'cuda',
        health: pick(['ok', 'ok', 'ok', 'hot', 'lost']) ?? 'ok',
      }),
    ]
    let state = decide(emptyCluster([]), { kind: 'models-known', specs }, policy, 0).state
    const start = state
    const journal: (readonly [number, SchedulerEvent])[] = []
    const ids = new Set<string>()
    for (let nowMs = 1; nowMs < 6_000; nowMs += 1 + below(15)) {
      const one = pick(state.instances)
      const name = pick(specs)?.name ?? ''
      const nodeId = pick(['node', 'other']) ?? 'node'
      const event = pick<SchedulerEvent | undefined>([
        { kind: 'model-wanted', spec: pick(specs) ?? model('m', 1) },
        { kind: 'model-wanted', spec: pick(specs) ?? model('m', 1) },
        { kind: 'model-unwanted', model: name },
        one && { kind: 'instance-ready', instanceId: one.id },
        one && { kind: 'instance-ready', instanceId: one.id },
        one?.state === 'ready' || one?.state === 'draining'
          ? { kind: 'use-changed', instanceId: one.id, inFlight: below(3) }
          : undefined,
        one && {
          kind: 'instance-gone',
          instanceId: one.id,
          why: pick(['crashed', 'failed', 'killed', 'stopped'] as const) ?? 'stopped',
        },
        {
          kind: 'demand',
          calendarMs: 1e12 + nowMs,
          models: [{ model: name, arrivals: below(3), inFlight: below(9), queued: below(5) }],
        },
        { kind: 'devices-changed', nodeId, devices: devicesOf(nodeId) },
        below(10) === 0 ? { kind: 'node-lost', nodeId } : undefined,
        { kind: 'files-cached', nodeId, models: [name] },
        below(5) === 0 ? { kind: 'unload-asked', model: name } : undefined,
        { kind: 'defragment-asked', spec: pick(specs) ?? model('m', 1) },
        { kind: 'crashes-forgiven', model: name },
        tick,
      ])
      if (!event) continue
      journal.push([nowMs, event])
      const before = state
      const decision = decide(before, event, policy, nowMs)
      state = decision.state
      checkActions(before, decision, ids)
      checkState(state, policy, nowMs, event)
    }
    expect(ids.size).toBeGreaterThan(20)
    const replayed = journal.reduce((old, [atMs, event]) => decide(old, event, policy, atMs).state, start)
    expect(replayed, 'the events alone give the same state').toEqual(state)
  })

  function checkActions(before: ClusterState, { actions, state }: Decision, given: Set<string>): void {
    for (const action of actions) {
      if (action.kind === 'unload') {
        expect(state.instances.find(({ id }) => id === action.instanceId)?.state).toBe('unloading')
      }
      if (action.kind !== 'load') continue
      expect(given.has(action.instanceId), 'no instance id is used twice').toBe(false)
      given.add(action.instanceId)
      const healthy = new Set(state.devices.filter(({ health }) => health === 'ok').map(({ id }) => id))
      expect(action.shares.every(({ deviceId }) => healthy.has(deviceId))).toBe(true)
      const nodes = action.shares.map(
        ({ deviceId }) => state.devices.find(({ id }) => id === deviceId)?.nodeId,
      )
      expect([...new Set(nodes)], 'one instance lies on one node').toEqual([action.nodeId])
      const free = viewOf(state, 0).freeBytes
      for (const { deviceId } of action.shares) expect(free.get(deviceId)).toBeGreaterThanOrEqual(0)
    }
    for (const old of before.instances) {
      const now = state.instances.find(({ id }) => id === old.id)
      if (old.spec.pinned && old.state === 'ready' && now?.state === 'draining') {
        expect(state.models[old.spec.name]?.held, 'only the operator unloads what is pinned').toBe(true)
      }
    }
  }

  function checkState(state: ClusterState, policy: Policy, nowMs: number, event: SchedulerEvent): void {
    for (const each of state.instances) {
      if (each.state === 'loading' || each.state === 'unloading') {
        expect(each.deadlineMs).toBeGreaterThan(nowMs)
      }
      if (each.state === 'draining') expect(each.inFlight).toBeGreaterThan(0)
      // An instance goes with its device, which may have gone at this very moment.
      if (event.kind === 'devices-changed' || each.state === 'unloading') continue
      for (const { deviceId } of each.shares) {
        expect(state.devices.find(({ id }) => id === deviceId)?.health).not.toBe('lost')
      }
    }
    const names = state.waiting.map(({ spec }) => spec.name)
    expect(new Set(names).size, 'a model waits once').toBe(names.length)
    const wakeMs = nextWakeMs(state, policy, nowMs)
    const mustWake = state.instances.some(({ deadlineMs }) => deadlineMs !== undefined)
    if (mustWake) expect(wakeMs, 'whatever has a deadline is woken for').toBeDefined()
    if (state.plan) expect(wakeMs).toBeLessThanOrEqual(state.plan.deadlineMs)
  }
})

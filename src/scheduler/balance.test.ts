import { describe, expect, test } from 'vitest'
import { device, instance, model, plainPolicy } from '../../test/support/cluster.ts'
import { type Random, seededRandom } from '../core/random.ts'
import { balanceMove } from './balance.ts'
import { decide } from './decide.ts'
import type { SchedulerEvent } from './events.ts'
import { expectedLoad } from './expected-load.ts'
import {
  type ClusterState,
  type Device,
  emptyCluster,
  type Instance,
  type ModelSpec,
  NO_ARRIVALS,
} from './state.ts'
import { isAllowedOn, viewOf } from './view.ts'

const HOUR_MS = 3_600_000

function card(id: string, own: Partial<Device> = {}): Device {
  return device(id, 100, { kind: 'cuda', ...own })
}

/** As if each model had computed that share of the last hours. */
function clusterOf(
  devices: readonly Device[],
  placed: readonly (readonly [Instance, number])[],
): ClusterState {
  const plain = { crashes: [], inFlight: 0, queued: 0, spareSinceMs: undefined, held: false }
  const models = placed.map(([{ spec }, share]) => {
    const arrivals = { ...NO_ARRIVALS, startedMs: -1e9, requestRates: [0, 0, 100 / HOUR_MS] }
    return [spec.name, { spec, ...plain, arrivals, work: { ms: share * HOUR_MS, updatedMs: 0 } }] as const
  })
  const instances = placed.map(([one]) => one)
  return { ...emptyCluster(devices), instances, models: Object.fromEntries(models) }
}

const moveIn = (state: ClusterState) => balanceMove(viewOf(state, 0), 1.2)

/** Two of the same on one device, of which one could go to the other device. */
function pair(own: Partial<ModelSpec> = {}, other: Device = card('y'), share = 0.2): ClusterState {
  const both = ['one', 'two'].map((name) => [instance(model(name, 30, own), 'x'), share] as const)
  return clusterOf([card('x'), other], both)
}

describe('a move that evens out what devices compute', () => {
  test('is made where one device has two busy models and another has none, and says why', () => {
    const found = moveIn(pair())
    expect(found?.move).toMatchObject({
      ...{ instanceId: 'one-on-x', to: [{ deviceId: 'y', bytes: 30 }], kind: 'copy-first' },
    })
    expect(found?.because).toMatch(/x is expected to compute 40\.\d % of the time, y 0\.0 %, and 20\.\d %/)
  })

  test('takes what evens out most', () => {
    const shares = [0.3, 0.2, 0.05]
    const state = clusterOf(
      [card('x'), card('y')],
      shares.map((share, at) => [instance(model(`m-${at}`, 20), 'x'), share]),
    )
    expect(moveIn(state)?.move.instanceId).toBe('m-0-on-x')
  })

  test('moves nothing that is pinned, and to no place that is not allowed, too small, unlike or not well', () => {
    expect(moveIn(pair({ pinned: true }))).toBeUndefined()
    expect(moveIn(pair({ onlyOn: ['x'] }))).toBeUndefined()
    expect(moveIn(pair({}, card('y', { group: 'others' })))).toBeUndefined()
    expect(moveIn(pair({}, card('y', { nodeId: 'without-its-file' })))).toBeUndefined()
    expect(moveIn(pair({}, card('y', { foreignBytes: 71 })))).toBeUndefined()
    expect(moveIn(pair({}, card('y', { totalBytes: 200 })))).toBeUndefined()
    expect(moveIn(pair({}, card('y', { kind: 'rocm' })))).toBeUndefined()
    expect(moveIn(pair({}, card('y', { health: 'hot' })))).toBeUndefined()
  })

  test('does not put replicas together', () => {
    const [twice, other] = [model('twice', 30), model('other', 30)]
    const state = clusterOf(
      [card('x'), card('y')],
      [
        [instance(twice, 'x', { id: 'twice-1' }), 0.4],
        [instance(other, 'x', { spec: { ...other, pinned: true } }), 0.2],
      ],
    )
    expect(moveIn(state)?.move.instanceId).toBe('twice-1')
    const beside = { ...state, instances: [...state.instances, instance(twice, 'y', { id: 'twice-2' })] }
    expect(moveIn(beside)).toBeUndefined()
  })

  test('is not made for less computing than the load takes', () => {
    // 1.2 times one second of loading, of an hour.
    expect(moveIn(pair({}, card('y'), 1 / 3_600))).toBeUndefined()
    expect(moveIn(pair({}, card('y'), 2 / 3_600))).toBeDefined()
    expect(moveIn(pair({ loadMs: 1e6 }))).toBeUndefined()
  })

  test('leaves a model alone that crashed or did not load lately', () => {
    const state = pair()
    const withHistory = (change: object) => ({
      ...state,
      models: Object.fromEntries(
        Object.entries(state.models).map(([name, history]) => [name, { ...history, ...change }]),
      ),
    })
    expect(moveIn(withHistory({ crashes: [-1] }))).toBeUndefined()
    expect(moveIn(withHistory({ failedMs: -1 }))).toBeUndefined()
  })
})

test('of the same demand moves come to an end, each evening out the devices, over random clusters', () => {
  let moves = 0
  for (let seed = 1; seed <= 200; seed++) {
    let state = randomCluster(seededRandom(seed))
    let before = uneven(state)
    for (let found = moveIn(state); found; found = moveIn(state)) {
      const { move } = found
      const old = state.instances.find(({ id }) => id === move.instanceId)
      const to = state.devices.find(({ id }) => id === move.to[0]?.deviceId)
      if (!old || !to) return expect.unreachable()
      expect(old.spec.pinned).toBe(false)
      expect(isAllowedOn(old.spec, to)).toBe(true)
      const moved = { ...old, shares: move.to, nodeId: move.nodeId }
      state = { ...state, instances: state.instances.map((one) => (one === old ? moved : one)) }
      const freeBytes = viewOf(state, 0).freeBytes.get(to.id) ?? 0
      expect(freeBytes).toBeGreaterThanOrEqual(0)
      const after = uneven(state)
      expect(after).toBeLessThan(before)
      before = after
      moves += 1
    }
  }
  // Else it has shown nothing.
  expect(moves).toBeGreaterThan(100)
})

test('what was busy on a crowded device is loaded elsewhere first, and drained with its requests', () => {
  const policy = { ...plainPolicy, balance: { enabled: true, gainMin: 1.2 } }
  const specs = ['one', 'two'].map((name) => model(name, 30, { keepAliveMs: 1e9 }))
  const instances = specs.map((spec) => instance(spec, 'x', { id: `${spec.name}-1` }))
  let state: ClusterState = { ...emptyCluster([card('x'), card('y')]), instances, nextInstance: 2 }
  const kinds: string[] = []
  const post = (nowMs: number, event: SchedulerEvent) => {
    const decision = decide(state, event, policy, nowMs)
    state = decision.state
    kinds.push(...decision.actions.map((action) => action.kind))
    return decision
  }
  const demand = (nowMs: number, arrivals: number) => {
    const models = specs.map(({ name }) => ({ model: name, arrivals, inFlight: 0, queued: 0 }))
    return post(nowMs, { kind: 'demand', calendarMs: nowMs, models })
  }
  post(0, { kind: 'models-known', specs })
  demand(0, 1)
  for (const { id } of instances) post(1_000, { kind: 'use-changed', instanceId: id, inFlight: 1 })
  post(9_000, { kind: 'use-changed', instanceId: 'two-1', inFlight: 0 })
  expect(kinds).toEqual([])
  const { records } = demand(11_000, 1)
  expect(records).toContainEqual(
    expect.objectContaining({ kind: 'moved', model: 'one', instanceId: 'one-1' }),
  )
  expect(kinds).toEqual(['load'])
  // Of the eight seconds that they shared each did a half, and one of them computed two more alone.
  expect(state.models['one']?.work?.ms).toBeCloseTo(6_000, 0)
  expect(state.models['two']?.work?.ms).toBeCloseTo(4_000, 0)
  post(13_000, { kind: 'instance-ready', instanceId: 'one-2' })
  expect(state.instances.map(({ id, state: phase }) => [id, phase])).toEqual([
    ['one-1', 'draining'],
    ['two-1', 'ready'],
    ['one-2', 'ready'],
  ])
  post(14_000, { kind: 'use-changed', instanceId: 'one-1', inFlight: 0 })
  post(15_000, { kind: 'instance-gone', instanceId: 'one-1', why: 'stopped' })
  expect(state.plan).toBeUndefined()
  demand(60_000, 0)
  expect(kinds).toEqual(['load', 'unload'])
})

/** The sum of the squared loads, which is least where they are equal. */
function uneven(state: ClusterState): number {
  let sum = 0
  for (const load of expectedLoad(state, 0).devices.values()) sum += load ** 2
  return sum
}

function randomCluster(random: Random): ClusterState {
  const pick = <T>(items: readonly T[]) => items[Math.floor(random.uniform() * items.length)] as T
  const devices = Array.from({ length: 2 + Math.floor(random.uniform() * 8) }, (_, at) =>
    card(`d-${at}`, { group: pick([undefined, undefined, undefined, 'g']), nodeId: pick(['node', 'other']) }),
  )
  const placed = Array.from({ length: 20 }, (_, at) => {
    const home = pick(devices)
    const spec = model(`m-${at}`, 5 + Math.floor(random.uniform() * 20), {
      ...{ nodes: pick([['node', 'other'], [home.nodeId]]), group: home.group },
      ...{ pinned: random.uniform() < 0.2, loadMs: 20_000 * random.uniform() },
    })
    return [instance(spec, home.id, { nodeId: home.nodeId }), 0.2 * random.uniform() ** 3] as const
  })
  // As many as there is room for.
  const left = new Map(devices.map(({ id, totalBytes }) => [id, totalBytes]))
  const fitting = placed.filter(([{ shares }]) => {
    const [share] = shares
    const bytes = (left.get(share?.deviceId ?? '') ?? 0) - (share?.bytes ?? 0)
    if (bytes >= 0) left.set(share?.deviceId ?? '', bytes)
    return bytes >= 0
  })
  return clusterOf(devices, fitting)
}

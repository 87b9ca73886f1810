import { describe, expect, test } from 'vitest'
import { device, instance, model } from '../../test/support/cluster.ts'
import { randomCluster, randomModel } from '../../test/support/random-cluster.ts'
import { seededRandom } from '../core/random.ts'
import { planMoves } from './defragment.ts'
import { firstFit } from './placement/first-fit.ts'
import type { DefragmentPolicy } from './policy.ts'
import {
  type ClusterState,
  type Device,
  emptyCluster,
  type Instance,
  type ModelSpec,
  type Move,
} from './state.ts'
import { isAllowedOn, viewOf } from './view.ts'

const policy: DefragmentPolicy = { enabled: true, movesMax: 3, gainMin: 1.2, planTimeoutMs: 60_000 }
/** Whatever it costs. */
const eager = { ...policy, gainMin: 0 }
const gpu = (id: string, totalBytes: number, own: Partial<Device> = {}) =>
  device(id, totalBytes, { kind: 'cuda', ...own })

function plan(state: ClusterState, spec: ModelSpec, how = eager) {
  return planMoves(viewOf(state, 0), spec, how)
}

const steps = (moves: readonly Move[] | undefined) =>
  moves?.map(({ instanceId, to, kind }) => [instanceId, ...to.map(({ deviceId }) => deviceId), kind])

describe('moves', () => {
  const a = instance(model('a', 40), 'd0', { id: 'a' })
  const b = instance(model('b', 40), 'd1', { id: 'b' })
  const halfFull: ClusterState = { ...emptyCluster([gpu('d0', 100), gpu('d1', 100)]), instances: [a, b] }

  test('what lies in the way goes to where there is room, so that the model fits', () => {
    expect(steps(plan(halfFull, model('large', 100))?.moves)).toEqual([['a', 'd1', 'copy-first']])
  })

  test('what is cheapest to load goes', () => {
    const slow = instance(model('b', 40, { loadMs: 9_000 }), 'd1', { id: 'b' })
    const state = { ...halfFull, instances: [a, slow] }
    expect(plan(state, model('large', 100))).toMatchObject({ moves: [{ instanceId: 'a' }], costSeconds: 1 })
  })

  test('one makes way for another, in that order, where only a chain opens the hole', () => {
    const devices = [gpu('d0', 100), gpu('d1', 60), gpu('d2', 30)]
    const instances = [
      instance(model('x', 50), 'd0', { id: 'x' }),
      instance(model('y', 30), 'd1', { id: 'y' }),
    ]
    const state = { ...emptyCluster(devices), instances }
    expect(steps(plan(state, model('large', 100))?.moves)).toEqual([
      ['y', 'd2', 'copy-first'],
      ['x', 'd1', 'copy-first'],
    ])
    expect(plan(state, model('large', 100), { ...eager, movesMax: 1 })).toBeUndefined()
  })

  test('a split that overlaps with its new place drains first', () => {
    const devices = [gpu('d0', 60), gpu('d1', 60), gpu('d2', 60)]
    const shares = ['d0', 'd1'].map((deviceId) => ({ deviceId, bytes: 40 }))
    const split = instance(model('split', 80, { splitMax: 2 }), 'd0', { id: 'split', shares })
    const state = { ...emptyCluster(devices), instances: [split] }
    // d2 is empty already: of 120 bytes over two devices, one must be given up by the split.
    const moves = plan(state, model('large', 120, { splitMax: 2 }))
    expect(moves).toBeUndefined()
    const roomier = { ...state, devices: [gpu('d0', 60), gpu('d1', 60), gpu('d2', 45)] }
    expect(steps(plan(roomier, model('large', 60))?.moves)).toEqual([['split', 'd2', 'd1', 'drain-first']])
  })

  test('there are none where the model fits already, or nothing would help', () => {
    expect(plan(halfFull, model('small', 60))).toBeUndefined()
    expect(plan(halfFull, model('large', 101))).toBeUndefined()
    expect(
      plan(
        { ...halfFull, instances: [a, { ...b, shares: [{ deviceId: 'd1', bytes: 61 }] }] },
        model('large', 100),
      ),
    ).toBeUndefined()
  })

  test.each([
    ['pinned', { spec: model('a', 40, { pinned: true }) }],
    ['loading', { state: 'loading' }],
    ['draining', { state: 'draining' }],
    ['not allowed elsewhere', { spec: model('a', 40, { onlyOn: ['d0'] }) }],
  ] as const)('one that is %s stays', (_why, own) => {
    const state = { ...halfFull, instances: [{ ...a, ...own }, b] }
    expect(steps(plan(state, model('large', 100, { onlyOn: ['d0'] }))?.moves)).toBeUndefined()
    expect(steps(plan(state, model('large', 100))?.moves)).toEqual([['b', 'd0', 'copy-first']])
  })

  test('nothing goes to a hot device, nor from an accelerator to the memory of the machine', () => {
    const hot = { ...halfFull, devices: [gpu('d0', 100, { health: 'hot' }), gpu('d1', 100)] }
    expect(plan(hot, model('large', 100))).toBeUndefined()
    const cpu = { ...emptyCluster([device('cpu', 100), gpu('d1', 100)]), instances: [b] }
    expect(plan(cpu, model('large', 100, { onlyOn: ['cuda'] }))).toBeUndefined()
  })

  test('are worth it only where evictions would cost more than they do', () => {
    const worth = (value: number): ClusterState => ({
      ...halfFull,
      instances: [
        { ...a, worth: value },
        { ...b, worth: value },
      ],
    })
    // Worth 40 bytes x 100 ms/byte an hour: more than a whole load of one second will certainly be missed.
    expect(plan(worth(100), model('large', 100), { ...policy, gainMin: 1 })).toBeDefined()
    expect(plan(worth(100), model('large', 100), policy)).toBeUndefined()
    expect(plan(worth(1), model('large', 100), { ...policy, gainMin: 1 })).toBeUndefined()
    const unmovable = { ...a, spec: { ...a.spec, replicasMin: 1 } }
    const fixed = { ...halfFull, instances: [unmovable, { ...b, spec: { ...b.spec, replicasMin: 1 } }] }
    expect(plan(fixed, model('large', 100), { ...policy, gainMin: 1e9 })?.because).toMatch(
      /nothing could be evicted/,
    )
  })
})

describe('against a search of everything', () => {
  test.each([2, 3])(
    'on small clusters up to %i moves place whatever any moves place, at the least cost',
    (movesMax) => {
      let [openable, total] = [0, 0]
      for (let seed = 0; seed < 120; seed++) {
        const { state, spec } = crowded(seed)
        if (firstFit(viewOf(state, 0), spec).kind === 'placed') continue
        total++
        const least = leastByTryingAll(state, spec, movesMax)
        const proposal = plan(state, spec, { ...eager, movesMax })
        expect([seed, proposal?.costSeconds]).toEqual([
          seed,
          least === undefined ? undefined : expect.closeTo(least),
        ])
        if (least !== undefined) openable++
      }
      expect(openable).toBeGreaterThan(20)
      expect(total - openable).toBeGreaterThan(5)
    },
  )

  test('every step of a proposal has room when its turn comes, and the model has in the end', () => {
    let plans = 0
    for (let seed = 0; seed < 300; seed++) {
      const random = seededRandom(seed)
      const state = randomCluster(random, { nodes: 2, devicesPerNode: 3, instances: 14, varied: true })
      const wanted = randomModel(random, 'wanted', ['node-0', 'node-1'], { varied: true })
      const spec = tooLargeFor(state, wanted, 20)
      const proposal = plan(state, spec)
      expect(plan(structuredClone(state), spec)).toEqual(proposal)
      if (!proposal) continue
      plans++
      expect(proposal.moves.length).toBeLessThanOrEqual(policy.movesMax)
      const after = proposal.moves.reduce(carryOut, state)
      expect(firstFit(viewOf(after, 0), spec).kind).toBe('placed')
    }
    expect(plans).toBeGreaterThan(20)
  })
})

/** A few devices, nearly full, of one node; nothing is bound. */
function crowded(seed: number) {
  const random = seededRandom(seed)
  const size = { nodes: 1, devicesPerNode: 3 + (seed % 2), instances: 7, varied: false }
  const state = randomCluster(random, size)
  const spec = randomModel(random, 'wanted', ['node-0'], { varied: false })
  return { state, spec: tooLargeFor(state, spec, 12) }
}

/** The model a little larger than the largest hole, so that moves alone may make room for it. */
function tooLargeFor(state: ClusterState, spec: ModelSpec, excessMax: number): ModelSpec {
  const largestHole = Math.max(0, ...viewOf(state, 0).freeBytes.values())
  return { ...spec, memoryBytes: largestHole + 1 + (spec.loadMs % excessMax) }
}

/** Takes the state through a move, and fails where it has no room. */
function carryOut(state: ClusterState, { instanceId, nodeId, to, kind }: Move): ClusterState {
  const moved = state.instances.find(({ id }) => id === instanceId)
  expect(moved?.state).toBe('ready')
  expect(moved?.spec.pinned).toBe(false)
  const others = state.instances.filter(({ id }) => id !== instanceId)
  const peak = viewOf({ ...state, instances: kind === 'copy-first' ? state.instances : others }, 0)
  for (const { deviceId, bytes } of to) {
    const target = peak.devices.get(deviceId)
    expect(target).toMatchObject({ nodeId, health: 'ok' })
    expect(target && moved && isAllowedOn(moved.spec, target)).toBe(true)
    expect(peak.freeBytes.get(deviceId)).toBeGreaterThanOrEqual(bytes)
  }
  return { ...state, instances: moved ? [...others, { ...moved, nodeId, shares: to }] : others }
}

/** The least seconds of loading after which the model fits, over every sequence of moves of instances on one device. */
function leastByTryingAll(state: ClusterState, spec: ModelSpec, movesMax: number): number | undefined {
  const free = new Map(viewOf(state, 0).freeBytes)
  const fits = () => [...free.values()].some((bytes) => bytes >= spec.memoryBytes)
  let least: number | undefined
  const tryAll = (unmoved: readonly Instance[], left: number, seconds: number) => {
    if (fits()) least = Math.min(least ?? Number.POSITIVE_INFINITY, seconds)
    if (left === 0) return
    for (const one of unmoved) {
      const [from] = one.shares
      if (!from) continue
      for (const { id } of state.devices) {
        if (id === from.deviceId || (free.get(id) ?? 0) < from.bytes) continue
        take(free, id, from.bytes)
        take(free, from.deviceId, -from.bytes)
        tryAll(
          unmoved.filter((other) => other !== one),
          left - 1,
          seconds + one.spec.loadMs / 1_000,
        )
        take(free, id, -from.bytes)
        take(free, from.deviceId, from.bytes)
      }
    }
  }
  tryAll(
    state.instances.filter(({ state: phase }) => phase === 'ready'),
    movesMax,
    0,
  )
  return least
}

function take(free: Map<string, number>, id: string, bytes: number): void {
  free.set(id, (free.get(id) ?? 0) - bytes)
}

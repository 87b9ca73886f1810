import { describe, expect, test } from 'vitest'
import { device, instance, model } from '../../../test/support/cluster.ts'
import { randomCluster, randomModel } from '../../../test/support/random-cluster.ts'
import { SchedulerSettings } from '../../config/scheduler-settings.ts'
import { seededRandom } from '../../core/random.ts'
import {
  type ClusterState,
  type Device,
  emptyCluster,
  type ModelHistory,
  type ModelSpec,
  NO_ARRIVALS,
  shareBytes,
} from '../state.ts'
import { type ClusterView, isAllowedOn, viewOf } from '../view.ts'
import type { Placement } from './placement.ts'
import { placementStrategies } from './strategies.ts'

type Placed = Extract<Placement, { kind: 'placed' }>

const strategies = Object.entries(placementStrategies)
const gpu = (id: string, totalBytes: number, own: Partial<Device> = {}) =>
  device(id, totalBytes, { kind: 'cuda', ...own })

test('helixflow.yaml may name every strategy there is, and no other', () => {
  expect([...SchedulerSettings.shape.strategy.unwrap().options].sort()).toEqual(
    Object.keys(placementStrategies).sort(),
  )
})

describe.each(strategies)('%s', (_name, place) => {
  const placed = (devices: readonly Device[], spec: ModelSpec, own: Partial<ClusterState> = {}) => {
    const placement = place(viewOf({ ...emptyCluster(devices), ...own }, 0), spec)
    return placement.kind === 'placed' ? placement.shares.map(({ deviceId }) => deviceId) : placement.reason
  }

  test('takes the only device with room', () => {
    const devices = [gpu('small', 10), gpu('large', 50), gpu('hot', 50, { health: 'hot' })]
    expect(placed(devices, model('m', 20))).toEqual(['large'])
  })

  test('is bound by groups, pins and files', () => {
    const devices = [gpu('a', 50), gpu('b', 50, { group: 'batch' }), gpu('c', 50, { nodeId: 'other' })]
    expect(placed(devices, model('m', 20, { group: 'batch' }))).toEqual(['b'])
    expect(placed(devices, model('m', 20, { nodes: ['other'] }))).toEqual(['c'])
    expect(placed(devices, model('m', 20, { nodes: ['node', 'other'], onlyOn: ['c'] }))).toEqual(['c'])
    expect(placed(devices, model('m', 20, { onlyOn: ['cpu'] }))).toBe('no-device')
    expect(placed(devices, model('m', 20, { group: 'unknown' }))).toBe('no-device')
  })

  test('splits only what fits on no single device, over as few as do, in one node', () => {
    const devices = ['a0', 'a1', 'b0', 'b1', 'b2'].map((id) => gpu(id, 40, { nodeId: id.slice(0, 1) }))
    const spec = (memoryBytes: number) => model('m', memoryBytes, { nodes: ['a', 'b'], splitMax: 4 })
    expect(placed(devices, spec(40))).toHaveLength(1)
    const two = placed(devices, spec(80))
    expect([
      ['a0', 'a1'],
      ['b0', 'b1'],
      ['b0', 'b2'],
      ['b1', 'b2'],
    ]).toContainEqual([...two].sort())
    expect([...placed(devices, spec(120))].sort()).toEqual(['b0', 'b1', 'b2'])
    expect(placed(devices, spec(121))).toBe('larger-than-any-device')
  })

  test('splits over devices that reach each other fast before others', () => {
    const devices = [gpu('a', 40), gpu('b', 40, { clique: 'x' }), gpu('c', 40), gpu('d', 45, { clique: 'x' })]
    expect([...placed(devices, model('m', 80, { splitMax: 2 }))].sort()).toEqual(['b', 'd'])
  })

  test('gives each device of a split the part that all need whole', () => {
    const devices = [gpu('a', 55), gpu('b', 55)]
    const spec = model('m', 100, { perDeviceBytes: 10, splitMax: 2 })
    const placement = place(viewOf(emptyCluster(devices), 0), spec)
    expect(placement).toMatchObject({ kind: 'placed', shares: [{ bytes: 55 }, { bytes: 55 }] })
    expect(placed([gpu('a', 54), gpu('b', 55)], spec)).toBe('larger-than-any-device')
  })

  test("splits over no machine's own memory and no two kinds, and uses that memory last", () => {
    const spec = model('m', 60, { splitMax: 2 })
    expect(placed([gpu('a', 40), device('cpu', 50)], spec)).toBe('larger-than-any-device')
    expect(placed([gpu('a', 40), gpu('b', 40, { kind: 'rocm' })], spec)).toBe('larger-than-any-device')
    expect([...placed([device('cpu', 100), gpu('a', 40), gpu('b', 40)], spec)].sort()).toEqual(['a', 'b'])
    expect(placed([device('cpu', 100), gpu('a', 40)], spec)).toEqual(['cpu'])
  })

  test('says at once, with the numbers, that something can never fit', () => {
    const unplaceable = (devices: readonly Device[], spec: ModelSpec) =>
      place(viewOf(emptyCluster(devices), 0), spec)
    expect(unplaceable([], model('m', 10))).toMatchObject({
      reason: 'no-device',
      neededBytes: 10,
      largestBytes: 0,
    })
    const mixed = [gpu('a', 40), gpu('b', 30), gpu('c', 20), gpu('other', 99, { group: 'batch' })]
    // Of a and b together 2 x (30 - 5) + 5, of all three 3 x (20 - 5) + 5.
    const spec = model('m', 56, { perDeviceBytes: 5, splitMax: 3 })
    expect(unplaceable(mixed, spec)).toMatchObject({
      ...{ reason: 'larger-than-any-device', neededBytes: 56, largestBytes: 55 },
    })
    expect(unplaceable(mixed, { ...spec, memoryBytes: 55 })).toMatchObject({ kind: 'placed' })
    const full = viewOf({ ...emptyCluster([gpu('a', 40)]), instances: [instance(model('x', 30), 'a')] }, 0)
    expect(place(full, model('m', 20))).toMatchObject({ reason: 'memory-exhausted', largestBytes: 40 })
  })

  test('explains the places that it looked at, the one taken first', () => {
    const devices = [gpu('a', 40), gpu('b', 60), gpu('c', 10)]
    const placement = place(viewOf(emptyCluster(devices), 0), model('m', 20)) as Placed
    expect(placement.candidates.map(({ devices: [id] }) => id).sort()).toEqual(['a', 'b'])
    expect(placement.candidates[0]?.devices).toEqual(placement.shares.map(({ deviceId }) => deviceId))
    expect(placement.because).not.toBe('')
  })

  test('over random clusters: room, health, bounds, shares and exact refusals; the same each time; nothing changed', () => {
    const kinds = new Set<string>()
    for (let seed = 0; seed < 500; seed++) {
      const random = seededRandom(seed)
      const state = randomCluster(random, { nodes: 2, devicesPerNode: 4, instances: 12, varied: true })
      const spec = randomModel(random, 'wanted', ['node-0', 'node-1'], { varied: true })
      const view = viewOf(state, 0)
      const before = JSON.stringify([state, [...view.freeBytes]])
      const placement = place(view, spec)
      expect(place(viewOf(structuredClone(state), 0), spec)).toEqual(placement)
      expect(JSON.stringify([state, [...view.freeBytes]])).toBe(before)
      if (placement.kind === 'placed') expectRoom(view, spec, placement)
      else expect(placement).toMatchObject(refusalBySearch(view, spec))
      kinds.add(placement.kind === 'placed' ? `${placement.shares.length}` : placement.reason)
    }
    expect([...kinds].sort()).toEqual([
      '1',
      '2',
      '3',
      'larger-than-any-device',
      'memory-exhausted',
      'no-device',
    ])
  })
})

describe('what tells the strategies apart', () => {
  const full = (bytes: number) => model(`taken-${bytes}`, bytes)
  const situations: readonly {
    readonly situation: string
    readonly state: ClusterState
    readonly spec: ModelSpec
    readonly expected: Readonly<Record<keyof typeof placementStrategies, string>>
  }[] = [
    {
      situation: 'holes of several sizes',
      state: {
        ...emptyCluster([gpu('a', 100), gpu('b', 100), gpu('c', 100)]),
        instances: [instance(full(40), 'a'), instance(full(60), 'b')],
        lastPlacedOn: 'b',
        models: known(model('large', 100), model('m', 40)),
      },
      spec: model('m', 40),
      expected: { auto: 'b', 'best-fit': 'b', 'first-fit': 'a', 'least-loaded': 'c', 'round-robin': 'c' },
    },
    {
      situation: 'the tightest hole on the busiest device',
      state: {
        ...emptyCluster([gpu('a', 100), gpu('b', 100)]),
        instances: [
          instance(full(50), 'a', { inFlight: 4 }),
          instance(full(9), 'a', { inFlight: 2 }),
          instance(full(10), 'b'),
        ],
        models: known(model('m', 40)),
      },
      spec: model('m', 40),
      expected: { auto: 'b', 'best-fit': 'a', 'first-fit': 'a', 'least-loaded': 'b', 'round-robin': 'a' },
    },
    {
      situation: 'a node whose page cache holds the file',
      state: {
        ...emptyCluster([gpu('a', 50), gpu('b', 100, { nodeId: 'near' })]),
        cachedFiles: { near: ['m'] },
        lastPlacedOn: 'b',
      },
      spec: model('m', 40, { nodes: ['node', 'near'], loadMs: 8_000, cachedLoadMs: 1_000 }),
      expected: { auto: 'b', 'best-fit': 'a', 'first-fit': 'a', 'least-loaded': 'b', 'round-robin': 'a' },
    },
    {
      situation: 'a sibling on the device with the tightest hole',
      state: {
        ...emptyCluster([gpu('a', 90), gpu('b', 100)]),
        instances: [instance(model('m', 40), 'a')],
        lastPlacedOn: 'b',
      },
      spec: model('m', 40),
      expected: { auto: 'b', 'best-fit': 'a', 'first-fit': 'a', 'least-loaded': 'b', 'round-robin': 'a' },
    },
    {
      situation: 'a device to which another model is bound',
      state: {
        ...emptyCluster([gpu('a', 60), gpu('b', 60)]),
        models: known(model('bound', 60, { onlyOn: ['a'] }), model('m', 40)),
      },
      spec: model('m', 40),
      expected: { auto: 'b', 'best-fit': 'a', 'first-fit': 'a', 'least-loaded': 'a', 'round-robin': 'a' },
    },
  ]

  test.each(situations)('$situation', ({ state, spec, expected }) => {
    const chosen = strategies.map(([name, place]) => {
      const placement = place(viewOf(state, 0), spec)
      return [name, placement.kind === 'placed' ? placement.shares[0]?.deviceId : placement.reason]
    })
    expect(Object.fromEntries(chosen)).toEqual(expected)
  })
})

test('auto names each part of its cost, and they add up to it', () => {
  const state: ClusterState = {
    ...emptyCluster([gpu('a', 100)]),
    instances: [instance(model('m', 20), 'a', { inFlight: 3 })],
    models: known(model('m', 20), model('large', 80, { loadMs: 4_000 })),
  }
  const placement = placementStrategies.auto(viewOf(state, 0), model('m', 20)) as Placed
  const [candidate] = placement.candidates
  // Half of the chances are the large model's, and all of the 60 bytes that stay are useless to it.
  const fragmentation = 0.5 * 4 * (60 / 80)
  expect(candidate?.parts).toEqual({
    ...{ load: 1, queueing: 0.5, interference: expect.closeTo(0.3), spread: 6 },
    fragmentation: expect.closeTo(fragmentation),
  })
  expect(candidate?.cost).toBeCloseTo(1 + 0.5 + 0.3 + 6 + fragmentation)
})

function known(...specs: readonly ModelSpec[]): Readonly<Record<string, ModelHistory>> {
  const plain = {
    crashes: [],
    inFlight: 0,
    queued: 0,
    spareSinceMs: undefined,
    held: false,
    arrivals: NO_ARRIVALS,
  }
  return Object.fromEntries(specs.map((spec) => [spec.name, { spec, ...plain }]))
}

function expectRoom(view: ClusterView, spec: ModelSpec, { nodeId, shares }: Placed): void {
  expect(shares.length).toBeLessThanOrEqual(spec.splitMax)
  expect(new Set(shares.map(({ deviceId }) => deviceId)).size).toBe(shares.length)
  for (const { deviceId, bytes } of shares) {
    const on = view.devices.get(deviceId)
    expect(on).toMatchObject({ nodeId, health: 'ok' })
    expect(on && isAllowedOn(spec, on)).toBe(true)
    expect(bytes).toBe(shareBytes(spec, shares.length))
    expect(view.freeBytes.get(deviceId)).toBeGreaterThanOrEqual(bytes)
    if (shares.length > 1) expect(on?.kind).toBe('cuda')
  }
}

/** What must be said of a model that was not placed, found by looking at every set of devices. */
function refusalBySearch({ state, freeBytes }: ClusterView, spec: ModelSpec) {
  const allowed = state.devices.filter((one) => isAllowedOn(spec, one))
  const sets = Array.from({ length: 2 ** allowed.length }, (_, set) =>
    allowed.filter((_one, index) => set & (1 << index)),
  ).filter(
    (set) =>
      set.length > 0 &&
      set.length <= spec.splitMax &&
      new Set(set.map(({ nodeId, kind }) => nodeId + kind)).size === 1 &&
      (set.length === 1 || set.every(({ kind }) => kind !== 'cpu')),
  )
  const fits = (bytesOf: (one: Device) => number, memoryBytes: number) =>
    sets.some((set) => set.every((one) => bytesOf(one) >= shareBytes({ ...spec, memoryBytes }, set.length)))
  const free = (one: Device) => (one.health === 'ok' ? (freeBytes.get(one.id) ?? 0) : -1)
  expect(fits(free, spec.memoryBytes)).toBe(false)
  let largestBytes = 0
  while (fits(({ totalBytes }) => totalBytes, largestBytes + 1)) largestBytes++
  const reason =
    allowed.length === 0
      ? 'no-device'
      : largestBytes < spec.memoryBytes
        ? 'larger-than-any-device'
        : 'memory-exhausted'
  return { kind: 'unplaceable', reason, neededBytes: spec.memoryBytes, largestBytes }
}

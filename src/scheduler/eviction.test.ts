import { describe, expect, test } from 'vitest'
import { device, instance, model } from '../../test/support/cluster.ts'
import { randomCluster, randomModel } from '../../test/support/random-cluster.ts'
import { seededRandom } from '../core/random.ts'
import { chooseVictims, worthOf } from './eviction.ts'
import { savedSeconds } from './loss.ts'
import type { EvictionPolicy } from './policy.ts'
import { relieve } from './relieve.ts'
import { type ClusterState, emptyCluster, type Instance } from './state.ts'
import { type ClusterView, isAllowedOn, viewOf } from './view.ts'

const gdsf: EvictionPolicy = { by: 'gdsf', residencyMinMs: 0, swapWaitMs: 2_000 }
const lru: EvictionPolicy = { ...gdsf, by: 'lru' }

function cluster(totals: readonly number[], instances: readonly Instance[]): ClusterState {
  const devices = totals.map((total, index) => device(`d${index}`, total, { kind: 'cuda' }))
  return { ...emptyCluster(devices), instances }
}

function victimsOf(state: ClusterState, bytes: number, policy = gdsf, waitedMs = 0, nowMs = 100_000) {
  const plan = chooseVictims(viewOf(state, nowMs), model('wanted', bytes), policy, waitedMs)
  return plan?.victims.map(({ id }) => id)
}

describe('who goes', () => {
  const on = (name: string, bytes: number, own: Partial<Instance> = {}, deviceId = 'd0') =>
    instance(model(name, bytes), deviceId, { id: name, ...own })

  test('the one of least worth, however recently it was used', () => {
    const state = cluster(
      [100],
      [on('rare', 50, { worth: 1, lastUsedMs: 9 }), on('frequent', 50, { worth: 8, lastUsedMs: 1 })],
    )
    expect(victimsOf(state, 50)).toEqual(['rare'])
    expect(victimsOf(state, 50, lru)).toEqual(['frequent'])
  })

  test('an idle one before a busy one, a lesser priority before a greater one, whatever they are worth', () => {
    const important = model('important', 50, { priority: 1 })
    const busy = on('busy', 50, { inFlight: 1 })
    const state = cluster(
      [50, 50],
      [instance(important, 'd0', { id: 'important' }), { ...busy, shares: [{ deviceId: 'd1', bytes: 50 }] }],
    )
    expect(victimsOf(state, 50, gdsf, 2_000)).toEqual(['important'])
    const plain = on('plain', 50, { worth: 100 }, 'd1')
    expect(victimsOf(cluster([50, 50], [instance(important, 'd0'), plain]), 50)).toEqual(['plain'])
  })

  test('two that are cheap to load again rather than one that is not', () => {
    const costly = model('costly', 60, { loadMs: 60_000 })
    const state = cluster(
      [60, 60],
      [
        instance(costly, 'd0', { id: 'costly', worth: 10 }),
        on('x', 30, { worth: 1 }, 'd1'),
        on('y', 30, { worth: 1 }, 'd1'),
      ],
    )
    expect(victimsOf(state, 60)).toEqual(['x', 'y'])
  })

  test('nobody who turns out not to be needed', () => {
    const state = cluster([100], [on('small', 10, { worth: 1 }), on('large', 90, { worth: 2 })])
    expect(victimsOf(state, 80)).toEqual(['large'])
    expect(victimsOf(state, 80, lru)).toEqual(['large'])
  })

  test('the large one that is worth little for its bytes, though a small one would do', () => {
    const small = on('small', 10, { worth: 2 })
    const large = on('large', 90, { worth: 1 })
    expect(victimsOf(cluster([100], [small, large]), 10)).toEqual(['large'])
    const elsewhere = on('small', 10, { worth: 2 }, 'd1')
    expect(victimsOf(cluster([90, 10], [elsewhere, large]), 10)).toEqual(['large'])
  })

  test('one that was loaded for somebody only once it has served, however long another waits', () => {
    const fresh = (own: Partial<Instance>) =>
      cluster([50], [on('fresh', 50, { readySinceMs: 99_500, ...own })])
    expect(victimsOf(fresh({ used: false }), 50, gdsf, 1e9)).toBeUndefined()
    expect(victimsOf(fresh({ used: true }), 50, gdsf, 1e9)).toEqual(['fresh'])
    // Whoever it was loaded for has left.
    expect(victimsOf(fresh({ used: false }), 50, gdsf, 1e9, 100_500)).toEqual(['fresh'])
    expect(victimsOf(fresh({ used: false, purpose: 'prefetch' }), 50, gdsf, 1e9)).toEqual(['fresh'])
  })

  test('nobody while enough is on its way out', () => {
    const state = cluster([100], [on('going', 50, { state: 'draining', inFlight: 1 }), on('idle', 50)])
    expect(victimsOf(state, 50)).toEqual([])
    expect(victimsOf(state, 60)).toEqual(['idle'])
  })

  test('a busy one and one that was just loaded only for a model that waited long enough', () => {
    const busy = cluster([50], [on('busy', 50, { inFlight: 1 })])
    expect(victimsOf(busy, 50, gdsf, 1_999)).toBeUndefined()
    expect(victimsOf(busy, 50, gdsf, 2_000)).toEqual(['busy'])
    const young = cluster([50], [on('young', 50, { readySinceMs: 99_000 })])
    const settled = { ...gdsf, residencyMinMs: 5_000 }
    expect(victimsOf(young, 50, settled, 1_999)).toBeUndefined()
    expect(victimsOf(young, 50, settled, 2_000)).toEqual(['young'])
    expect(victimsOf(young, 50, settled, 0, 104_000)).toEqual(['young'])
  })

  test('never one that is pinned, that loads, of the least number of its model, or of the model that waits', () => {
    const pinned = instance(model('pinned', 50, { pinned: true }), 'd0')
    const loading = on('loading', 50, { state: 'loading' }, 'd1')
    const least = instance(model('least', 50, { replicasMin: 1 }), 'd2')
    const same = on('wanted', 50, {}, 'd3')
    const state = cluster([50, 50, 50, 50], [pinned, loading, least, same])
    expect(victimsOf(state, 50, gdsf, 1e9)).toBeUndefined()
    const second = instance(least.spec, 'd0', { id: 'second', worth: 5 })
    expect(victimsOf(cluster([50, 50, 50], [second, least]), 50, gdsf, 0)).toEqual([])
    expect(victimsOf(cluster([50, 0, 50], [second, least]), 50)).toEqual([least.id])
  })

  test('those on the devices of one node that a split needs, where no single device would do', () => {
    const devices = ['a0', 'a1', 'b0', 'b1'].map((id) =>
      device(id, 60, { kind: 'cuda', nodeId: id.slice(0, 1) }),
    )
    const nodes = ['a', 'b']
    const resident = (deviceId: string, worth: number) =>
      instance(model(`r-${deviceId}`, 40, { nodes }), deviceId, {
        id: deviceId,
        nodeId: deviceId.slice(0, 1),
        worth,
      })
    const instances = [resident('a0', 1), resident('a1', 9), resident('b0', 4), resident('b1', 3)]
    const view = viewOf({ ...emptyCluster(devices), instances }, 0)
    const plan = chooseVictims(view, model('large', 100, { nodes, splitMax: 4 }), gdsf, 0)
    expect(plan?.victims.map(({ id }) => id)).toEqual(['b1', 'b0'])
    expect(plan?.shares).toEqual([
      { deviceId: 'b1', bytes: 50 },
      { deviceId: 'b0', bytes: 50 },
    ])
  })

  test('a split instance makes room on all of its devices at once', () => {
    const split = on('split', 80, {
      shares: [
        { deviceId: 'd0', bytes: 40 },
        { deviceId: 'd1', bytes: 40 },
      ],
      worth: 3,
    })
    const state = cluster([50, 50], [split])
    const plan = chooseVictims(viewOf(state, 0), model('large', 90, { splitMax: 2 }), gdsf, 0)
    expect(plan?.victims.map(({ id }) => id)).toEqual(['split'])
  })
})

describe('GDSF', () => {
  test('what is asked for often, takes long to load and is small is worth the most', () => {
    expect(worthOf(model('a', 100, { loadMs: 5_000 }), 2)).toBe(100)
    expect(worthOf(model('a', 100, { loadMs: 5_000 }), 0)).toBe(0)
  })
})

test('LRU on one device evicts as a list in order of use does', () => {
  const random = seededRandom(5)
  for (let round = 0; round < 200; round++) {
    const resident = Array.from({ length: 6 }, (_, index) =>
      instance(model(`m${index}`, 10), 'd0', {
        id: `m${index}`,
        lastUsedMs: Math.floor(random.uniform() * 1e6),
        worth: random.uniform(),
      }),
    )
    const count = 1 + Math.floor(random.uniform() * 6)
    const oldest = [...resident].sort((a, b) => a.lastUsedMs - b.lastUsedMs).slice(0, count)
    expect(victimsOf(cluster([60], resident), 10 * count, lru)).toEqual(oldest.map(({ id }) => id))
  }
})

describe('over random clusters', () => {
  const SEEDS = Array.from({ length: 250 }, (_, seed) => seed)

  test.each([gdsf, lru])(
    'by $by the model fits once the victims are gone, and would not if one stayed',
    (policy) => {
      let plans = 0
      for (const seed of SEEDS) {
        const random = seededRandom(seed)
        const state = randomCluster(random, { nodes: 2, devicesPerNode: 3, instances: 12, varied: true })
        const spec = randomModel(random, 'wanted', ['node-0', 'node-1'], { varied: true })
        const view = viewOf(state, 1_000)
        const plan = chooseVictims(view, spec, policy, 5_000)
        if (!plan) continue
        plans++
        expect(plan.shares.every(({ deviceId }) => isAllowedOn(spec, deviceOf(view, deviceId)))).toBe(true)
        expect(plan.victims.every(({ state: phase, spec: { pinned } }) => phase === 'ready' && !pinned)).toBe(
          true,
        )
        expect(fits(view, plan.shares, plan.victims)).toBe(true)
        for (const victim of plan.victims) {
          const others = plan.victims.filter((one) => one !== victim)
          expect(fits(view, plan.shares, others)).toBe(false)
        }
        expect(chooseVictims(view, spec, policy, 5_000)).toEqual(plan)
      }
      expect(plans).toBeGreaterThan(100)
    },
  )

  test('but for one victim, what is lost is at most the least that any set would lose', () => {
    let plans = 0
    for (const seed of SEEDS) {
      const random = seededRandom(seed)
      const state = randomCluster(random, { nodes: 1, devicesPerNode: 1, instances: 10, varied: false })
      const view = viewOf(state, 1_000)
      const spec = model('wanted', 20 + Math.floor(random.uniform() * 30), { nodes: ['node-0'] })
      const plan = chooseVictims(view, spec, gdsf, 0)
      if (!plan || plan.victims.length === 0) continue
      const losses = plan.victims.map((one) => savedSeconds(view, one))
      const butOne = losses.reduce((sum, one) => sum + one, 0) - Math.max(...losses)
      expect(butOne).toBeLessThanOrEqual(leastPossible(view, spec.memoryBytes) + 1e-9)
      plans++
    }
    expect(plans).toBeGreaterThan(100)
  })
})

describe('relief', () => {
  const on = (name: string, own: Partial<Instance> = {}) =>
    instance(model(name, 30), 'd0', { id: name, ...own })
  const short = (instances: readonly Instance[], foreignBytes: number) =>
    viewOf({ ...emptyCluster([device('d0', 100, { foreignBytes })]), instances }, 1_000)
  const relieved = (view: ClusterView) => relieve(view, gdsf).map(({ id }) => id)

  test('nothing goes while all that was given is there', () => {
    expect(relieved(short([on('a'), on('b'), on('c')], 10))).toEqual([])
  })

  test('the idle one of least worth goes where foreign processes took what it lies in, and not more', () => {
    const instances = [on('a', { worth: 3 }), on('b', { worth: 1 }), on('c', { inFlight: 1 })]
    expect(relieved(short(instances, 20))).toEqual(['b'])
    expect(relieved(short(instances, 50))).toEqual(['b', 'a'])
  })

  test('all that is idle goes where even that is too little; busy and pinned ones stay', () => {
    const pinned = instance(model('p', 30, { pinned: true }), 'd0', { id: 'p' })
    expect(relieved(short([on('a'), on('busy', { inFlight: 1 }), pinned], 90))).toEqual(['a'])
  })

  test('what is on its way out counts', () => {
    expect(relieved(short([on('a'), on('b', { state: 'unloading' }), on('c')], 30))).toEqual([])
  })
})

function deviceOf(view: ClusterView, id: string) {
  const found = view.devices.get(id)
  if (!found) throw new RangeError(`no device ${id}`)
  return found
}

function fits(view: ClusterView, shares: Instance['shares'], gone: readonly Instance[]): boolean {
  return shares.every(({ deviceId, bytes }) => {
    const leaving = (view.instancesOn.get(deviceId) ?? []).filter(
      (one) => one.state === 'draining' || one.state === 'unloading' || gone.includes(one),
    )
    const freed = leaving.flatMap((one) => one.shares.filter((share) => share.deviceId === deviceId))
    return (view.freeBytes.get(deviceId) ?? 0) + freed.reduce((sum, share) => sum + share.bytes, 0) >= bytes
  })
}

/** Over every set of instances of every device. */
function leastPossible(view: ClusterView, bytes: number): number {
  let least = Number.POSITIVE_INFINITY
  for (const [deviceId, here] of view.instancesOn) {
    for (let set = 0; set < 2 ** here.length; set++) {
      const gone = here.filter((_, index) => set & (1 << index))
      if (!fits(view, [{ deviceId, bytes }], gone)) continue
      least = Math.min(
        least,
        gone.reduce((sum, one) => sum + savedSeconds(view, one), 0),
      )
    }
  }
  return least
}

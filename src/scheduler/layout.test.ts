import { expect, test } from 'vitest'
import { instance, model } from '../../test/support/cluster.ts'
import { pick, randomCluster, whole } from '../../test/support/random-cluster.ts'
import { type Random, seededRandom } from '../core/random.ts'
import { layoutOf } from './layout.ts'
import type { ClusterState, Instance } from './state.ts'

test('a layout is the same whether it follows from the last one or is made anew', () => {
  for (let seed = 0; seed < 20; seed++) {
    const random = seededRandom(seed)
    let state = randomCluster(random, { nodes: 2, devicesPerNode: 3, instances: 14, varied: true })
    for (let step = 0; step < 30; step++) {
      // Several changes at once, as a decision makes them.
      for (let change = whole(random, 4); change > 0; change--) {
        state = { ...state, instances: changed(random, state, `new-${step}-${change}`) }
      }
      const anew = layoutOf({ ...state, devices: [...state.devices] })
      expect([seed, step, layoutOf(state)]).toEqual([seed, step, anew])
    }
  }
})

test('a layout that was given out does not change', () => {
  const state = randomCluster(seededRandom(1), { nodes: 1, devicesPerNode: 2, instances: 6, varied: false })
  const before = layoutOf(state)
  const copy = structuredClone(before)
  layoutOf({ ...state, instances: state.instances.slice(1) })
  expect(before).toEqual(copy)
})

/** Bytes are broken numbers, for which the order of adding matters. */
function changed(random: Random, { instances, devices }: ClusterState, id: string): readonly Instance[] {
  const at = whole(random, instances.length)
  const old = instances[at]
  const bytes = random.uniform() * 9
  const shares = [{ deviceId: pick(random, devices).id, bytes }]
  if (!old || random.uniform() < 0.3) {
    return [...instances, instance(model('new', 9), 'any', { id, shares })]
  }
  const kind = random.uniform()
  if (kind < 0.3) return instances.filter((one) => one !== old)
  if (kind < 0.6) return instances.with(at, { ...old, inFlight: whole(random, 5) })
  if (kind < 0.9) return instances.with(at, { ...old, shares: old.shares.map((one) => ({ ...one, bytes })) })
  return instances.with(at, { ...old, shares })
}

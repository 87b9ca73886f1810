import { expect, test } from 'vitest'
import { device, instance, model } from '../../test/support/cluster.ts'
import { strandedRatio } from './fragmentation.ts'
import { emptyCluster, type Instance, type ModelSpec, NO_ARRIVALS } from './state.ts'
import { viewOf } from './view.ts'

const devices = ['a', 'b', 'hot'].map((id) =>
  device(id, 100, { kind: 'cuda', health: id === 'hot' ? 'hot' : 'ok' }),
)

function viewWith(instances: readonly Instance[], specs: readonly (readonly [ModelSpec, number])[] = []) {
  const plain = { crashes: [], inFlight: 0, queued: 0, spareSinceMs: undefined, held: false }
  const models = specs.map(([spec, rate]) => {
    return [spec.name, { spec, ...plain, arrivals: { ...NO_ARRIVALS, rates: [rate] } }] as const
  })
  return viewOf({ ...emptyCluster(devices), instances, models: Object.fromEntries(models) }, 0)
}

test('stranded is the share of free memory that is useless to what is asked for, by how often it is', () => {
  const halves = ['a', 'b'].map((id) => instance(model('x', 50), id))
  const [large, small] = [model('large', 60), model('small', 50)]
  expect(strandedRatio(viewWith(halves, [[small, 1]]))).toBe(0)
  expect(strandedRatio(viewWith(halves, [[large, 1]]))).toBe(1)
  // A tenth of the chance is shared alike, the rest by rate: 0.05 + 0.9 x 3/4.
  expect(
    strandedRatio(
      viewWith(halves, [
        [large, 3],
        [small, 1],
      ]),
    ),
  ).toBeCloseTo(0.725)
  const split = model('split', 120, { splitMax: 3 })
  expect(strandedRatio(viewWith(halves, [[split, 1]]))).toBe(0)
  expect(strandedRatio(viewWith(halves, [[{ ...split, splitMax: 2 }, 1]]))).toBe(1)
})

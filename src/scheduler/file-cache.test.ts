import { describe, expect, test } from 'vitest'
import { device, instance, model } from '../../test/support/cluster.ts'
import { chooseFilesToCache } from './file-cache.ts'
import { type ClusterState, emptyCluster, type ModelSpec, NO_ARRIVALS } from './state.ts'
import { viewOf } from './view.ts'

const PER_HOUR: Readonly<Record<string, number>> = { often: 10, seldom: 1, never: 0, large: 30 }

function chosen(specs: readonly ModelSpec[], own: Partial<ClusterState> = {}) {
  const plain = {
    crashes: [],
    inFlight: 0,
    queued: 0,
    spareSinceMs: undefined,
    held: false,
    arrivals: NO_ARRIVALS,
  }
  const models = Object.fromEntries(specs.map((spec) => [spec.name, { spec, ...plain }]))
  const devices = [device('node/cpu', 100), device('gpu', 500, { kind: 'cuda' })]
  const view = viewOf({ ...emptyCluster(devices), models, ...own }, 0)
  return chooseFilesToCache(view, 'node', ({ spec }) => PER_HOUR[spec.name] ?? 0)
}

describe('files read ahead', () => {
  const [often, seldom] = [model('often', 60), model('seldom', 40)]

  test('are those that save most for their bytes, as many as fit into the memory of the machine', () => {
    expect(chosen([seldom, often, model('never', 10)])).toEqual(['often', 'seldom'])
    expect(chosen([seldom, often, model('large', 90)])).toEqual(['large'])
    expect(chosen([seldom, often, model('large', 101)])).toEqual(['often', 'seldom'])
  })

  test('are not those that lie there, are loaded, are elsewhere, or load no faster for it', () => {
    expect(chosen([often, seldom], { cachedFiles: { node: ['often'] } })).toEqual(['seldom'])
    expect(chosen([often, seldom], { instances: [instance(often, 'gpu')] })).toEqual(['seldom'])
    expect(chosen([model('often', 60, { nodes: ['other'] }), seldom])).toEqual(['seldom'])
    expect(chosen([model('often', 60, { cachedLoadMs: 1_000 }), seldom])).toEqual(['seldom'])
  })
})

import { describe, expect, test } from 'vitest'
import { device, instance, model, plainPolicy } from '../../test/support/cluster.ts'
import { Told, tick } from '../../test/support/told-cluster.ts'
import { type ClusterState, emptyCluster, type MovePlan } from './state.ts'

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

import { expect, test } from 'vitest'
import { device, model, plainPolicy } from '../../test/support/cluster.ts'
import { decide } from './decide.ts'
import type { SchedulerEvent } from './events.ts'
import { EvictionRegrets } from './regrets.ts'
import { type ClusterState, emptyCluster, type ModelSpec } from './state.ts'

/** One device that holds one model at a time. */
function oneSeat() {
  const regrets = new EvictionRegrets()
  let state: ClusterState = emptyCluster([device('x', 100)])
  const post = (event: SchedulerEvent, nowMs: number) => {
    const decision = decide(state, event, plainPolicy, nowMs)
    state = decision.state
    const count = regrets.decided(decision, event, nowMs)
    for (const { id, state: phase } of state.instances) if (phase === 'unloading') postGone(id, nowMs)
    return count
  }
  const postGone = (instanceId: string, nowMs: number) =>
    post({ kind: 'instance-gone', instanceId, why: 'stopped' }, nowMs)
  const serve = (spec: ModelSpec, nowMs: number) => {
    const count = post({ kind: 'model-wanted', spec }, nowMs)
    for (const { id, state: phase } of state.instances) {
      if (phase !== 'loading') continue
      post({ kind: 'instance-ready', instanceId: id }, nowMs)
      post({ kind: 'use-changed', instanceId: id, inFlight: 1 }, nowMs)
      post({ kind: 'use-changed', instanceId: id, inFlight: 0 }, nowMs)
    }
    return count
  }
  return { post, serve }
}

const [first, second] = [model('first', 80, { keepAliveMs: 1e9 }), model('second', 80, { keepAliveMs: 1e9 })]

test('an eviction counts as a mistake when the model is asked for within ten times its load', () => {
  const { serve } = oneSeat()
  expect(serve(first, 0)).toBe(0)
  expect(serve(second, 20_000)).toBe(0)
  expect(serve(first, 20_000 + 9_999)).toBe(1)
})

test('an eviction was right when the model stayed away for longer', () => {
  const { serve } = oneSeat()
  serve(first, 0)
  serve(second, 20_000)
  expect(serve(first, 20_000 + 10_000)).toBe(0)
})

test('an eviction is counted once, and what the operator unloaded not at all', () => {
  const { serve, post } = oneSeat()
  serve(first, 0)
  serve(second, 20_000)
  expect(post({ kind: 'model-wanted', spec: first }, 21_000)).toBe(1)
  expect(post({ kind: 'model-wanted', spec: first }, 21_001)).toBe(0)
  post({ kind: 'unload-asked', model: 'first' }, 21_002)
  expect(post({ kind: 'model-wanted', spec: first }, 21_003)).toBe(0)
})

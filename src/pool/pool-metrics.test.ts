import { expect, test } from 'vitest'
import { device, instance, model, plainPolicy } from '../../test/support/cluster.ts'
import { MetricRegistry } from '../metrics/registry.ts'
import { decide } from '../scheduler/decide.ts'
import type { GoneReason } from '../scheduler/events.ts'
import { emptyCluster, type Instance } from '../scheduler/state.ts'
import { PoolMetrics } from './pool-metrics.ts'

const spec = model('m', 10)

/** What is shown of exits after an instance in that state has gone. */
function exitsAfter(state: Instance['state'], why: GoneReason): readonly string[] {
  const registry = new MetricRegistry()
  const metrics = new PoolMetrics(registry, 'auto')
  const before = {
    ...emptyCluster([device('x', 100)]),
    instances: [instance(spec, 'x', { id: 'm-1', state })],
  }
  const event = { kind: 'instance-gone', instanceId: 'm-1', why } as const
  metrics.decided(decide(before, event, plainPolicy, 1), { event, before, nowMs: 1, tookMs: 0.02 })
  const lines = [...registry.collect(), ...registry.text('prometheus')].join('').split('\n')
  expect(lines).toContain('helixflow_decide_seconds_count{event="instance-gone"} 1')
  return lines.filter((line) => line.startsWith('helixflow_engine_exits_total{'))
}

test('an engine that ends by itself is counted by its model and why; one that was told to is not', () => {
  expect(exitsAfter('ready', 'crashed')).toEqual(['helixflow_engine_exits_total{model="m",why="crashed"} 1'])
  expect(exitsAfter('loading', 'failed')).toEqual(['helixflow_engine_exits_total{model="m",why="failed"} 1'])
  expect(exitsAfter('unloading', 'stopped')).toEqual([])
  expect(exitsAfter('unloading', 'killed')).toEqual([])
})

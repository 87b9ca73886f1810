import { beforeEach, expect, test } from 'vitest'
import { device, instance, model, plainPolicy } from '../../test/support/cluster.ts'
import { deviceReport } from '../../test/support/hand-node.ts'
import type { DeviceReport, NodeClient } from '../contracts/node.ts'
import { MetricRegistry } from '../metrics/registry.ts'
import { type ClusterState, emptyCluster, NO_ARRIVALS } from '../scheduler/state.ts'
import { PoolGauges } from './pool-gauges.ts'

const HOUR_MS = 3_600_000

let registry: MetricRegistry
let state: ClusterState
let nowMs: number
let here: string[]
let reports: Map<string, readonly DeviceReport[]>
let gauges: PoolGauges

beforeEach(() => {
  registry = new MetricRegistry()
  state = emptyCluster([])
  nowMs = 0
  here = ['n']
  reports = new Map([['n', [deviceReport('x', 100)]]])
  gauges = new PoolGauges({
    metrics: registry,
    reports,
    nodes: {
      get: () => undefined,
      all: () => here.map((nodeId) => ({ nodeId }) as NodeClient),
      watch: () => () => {},
    },
    pool: {
      get state() {
        return state
      },
      get nowMs() {
        return nowMs
      },
      policy: plainPolicy,
    },
  })
  gauges.start()
})

/** The lines of that metric. */
function read(name: string): string[] {
  return [...registry.collect(), ...registry.text('prometheus')]
    .join('')
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
}

test('a device whose node is gone is shown as unhealthy for an hour, without what it said before', () => {
  expect(read('helixflow_device_healthy')).toEqual(['helixflow_device_healthy{device="x"} 1'])
  expect(read('helixflow_node_up')).toEqual(['helixflow_node_up{node="n"} 1'])
  expect(read('helixflow_device_memory_bytes').length).toBeGreaterThan(0)
  here = []
  reports.clear()
  nowMs = HOUR_MS - 1
  expect(read('helixflow_device_healthy')).toEqual(['helixflow_device_healthy{device="x"} 0'])
  expect(read('helixflow_node_up')).toEqual(['helixflow_node_up{node="n"} 0'])
  expect(read('helixflow_device_memory_bytes')).toEqual([])
  nowMs = HOUR_MS
  expect(read('helixflow_device_healthy')).toEqual([])
  expect(read('helixflow_node_up')).toEqual([])
})

test('what a device says no more is not shown as it was when it said it last', () => {
  const said = { utilization: 1, temperatureCelsius: 95, powerWatts: 300, usedBytes: 50 }
  reports.set('n', [{ ...deviceReport('x', 100), kind: 'cuda', ...said }])
  expect(read('helixflow_device_temperature_celsius')).toHaveLength(1)
  expect(read('helixflow_device_memory_bytes').join()).toContain('kind="used"')
  const nothing = {
    utilization: undefined,
    temperatureCelsius: undefined,
    powerWatts: undefined,
    usedBytes: undefined,
  }
  reports.set('n', [{ ...deviceReport('x', 100), kind: 'cuda', ...nothing, health: 'lost' }])
  for (const name of ['temperature_celsius', 'power_watts', 'utilization_ratio'])
    expect(read(`helixflow_device_${name}`)).toEqual([])
  expect(read('helixflow_device_memory_bytes').join()).not.toContain('kind="used"')
  expect(read('helixflow_device_healthy')).toEqual(['helixflow_device_healthy{device="x"} 0'])
})

test('what a model takes of each device is shown for as long as it takes it', () => {
  const spec = model('m', 30)
  const history = { spec, crashes: [], inFlight: 0, queued: 0, spareSinceMs: undefined, held: false }
  state = {
    ...emptyCluster([device('x', 100)]),
    instances: [instance(spec, 'x', { id: 'm-1' }), instance(spec, 'x', { id: 'm-2', state: 'loading' })],
    models: { m: { ...history, arrivals: NO_ARRIVALS } },
  }
  expect(read('helixflow_model_memory_bytes')).toEqual([
    'helixflow_model_memory_bytes{model="m",device="x"} 60',
  ])
  expect(read('helixflow_model_instances')).toContain('helixflow_model_instances{model="m",state="ready"} 1')
  state = { ...state, instances: [] }
  expect(read('helixflow_model_memory_bytes')).toEqual([
    'helixflow_model_memory_bytes{model="m",device="x"} 0',
  ])
  expect(read('helixflow_model_instances')).toContain('helixflow_model_instances{model="m",state="ready"} 0')
  state = { ...state, models: {} }
  expect(read('helixflow_model_instances')).toEqual([])
  expect(read('helixflow_model_memory_bytes')).toEqual([])
})

test('models that wait are counted by why, each once, and none that is ready', () => {
  const wait = { purpose: 'demand', sinceMs: 0 } as const
  const [loading, room, crashed, ready] = ['l', 'r', 'c', 'd'].map((name) => model(name, 10))
  if (!loading || !room || !crashed || !ready) return expect.unreachable()
  nowMs = 100
  state = {
    ...emptyCluster([device('x', 100)]),
    instances: [instance(loading, 'x', { state: 'loading' }), instance(ready, 'x')],
    waiting: [
      { ...wait, spec: room, notBeforeMs: 0 },
      { ...wait, spec: crashed, notBeforeMs: 101 },
      { ...wait, spec: ready, notBeforeMs: 0, purpose: 'replica' },
    ],
  }
  expect(read('helixflow_models_waiting').sort()).toEqual([
    'helixflow_models_waiting{reason="loading"} 1',
    'helixflow_models_waiting{reason="paused"} 1',
    'helixflow_models_waiting{reason="room"} 1',
  ])
})

test('a pool that leads no more shows nothing of what it knew', () => {
  expect(read('helixflow_pool_leader')).toEqual(['helixflow_pool_leader 1'])
  gauges.stop()
  expect(read('helixflow_pool_leader')).toEqual(['helixflow_pool_leader 0'])
  for (const name of [
    'device_healthy',
    'device_memory_bytes',
    'node_up',
    'models_waiting',
    'prefetch_active',
  ])
    expect(read(`helixflow_${name}`)).toEqual([])
})

test('the precision of loads ahead is not shown before there was one', () => {
  expect(read('helixflow_prefetch_precision_ratio')).toEqual([])
  state = { ...state, prefetches: { ...state.prefetches, useful: 3, useless: 1 } }
  expect(read('helixflow_prefetch_precision_ratio')).toEqual(['helixflow_prefetch_precision_ratio 0.75'])
})

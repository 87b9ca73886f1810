import type { MetricDeclaration } from './declaration.ts'

/** What the pool and its nodes count of models, devices and decisions. */
export const POOL_METRICS = {
  helixflow_device_memory_bytes: {
    type: 'gauge',
    help: 'Memory of a device: total, taken by foreign processes, by models as reckoned, free for models, used as the device says.',
    labels: ['device', 'kind'],
  },
  helixflow_device_utilization_ratio: {
    type: 'gauge',
    help: 'Share of the time in which the device computed.',
    labels: ['device'],
  },
  helixflow_device_power_watts: { type: 'gauge', help: 'Power that the device draws.', labels: ['device'] },
  helixflow_device_temperature_celsius: {
    type: 'gauge',
    help: 'Temperature of the device.',
    labels: ['device'],
  },
  helixflow_device_healthy: {
    type: 'gauge',
    help: '1 while the device takes new models; 0 while it is hot, and in the hour since it was lost.',
    labels: ['device'],
  },
  helixflow_model_instances: {
    type: 'gauge',
    help: 'Instances of a model by state.',
    labels: ['model', 'state'],
  },
  helixflow_model_load_seconds: {
    type: 'histogram',
    help: 'How long models took to load.',
    labels: ['model'],
    buckets: [0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320],
  },
  helixflow_model_evictions_total: {
    type: 'counter',
    help: 'Instances that were told to go, by the reason.',
    labels: ['reason'],
  },
  helixflow_prefetch_total: {
    type: 'counter',
    help: 'Models that were loaded before they were asked for, by whether they were.',
    labels: ['outcome'],
  },
  helixflow_fragmentation_ratio: {
    type: 'gauge',
    help: 'Share of the free memory that is of no use to the next model asked for, in the mean over what is asked for: its pieces are too small.',
    labels: [],
  },
  helixflow_placement_total: {
    type: 'counter',
    help: 'Models that were to be placed, by strategy and outcome.',
    labels: ['strategy', 'outcome'],
  },
  helixflow_model_memory_bytes: {
    type: 'gauge',
    help: 'Memory that instances of the model take on the device.',
    labels: ['model', 'device'],
  },
  helixflow_models_waiting: {
    type: 'gauge',
    help: 'Models that are wanted and not ready, by why: loading, room for them, or the pause after a crash.',
    labels: ['reason'],
  },
  helixflow_eviction_regrets_total: {
    type: 'counter',
    help: 'Evicted models that were asked for again within ten times what their load takes: they should have stayed.',
    labels: [],
  },
  helixflow_prefetch_precision_ratio: {
    type: 'gauge',
    help: 'Of the latest models that were loaded ahead, the share that was asked for in time.',
    labels: [],
  },
  helixflow_prefetch_active: {
    type: 'gauge',
    help: '1 while models are loaded ahead; 0 where that is off, or was wrong too often.',
    labels: [],
  },
  helixflow_decide_seconds: {
    type: 'histogram',
    help: 'How long the scheduler took for one decision.',
    labels: ['event'],
    buckets: [0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1],
  },
  helixflow_engine_exits_total: {
    type: 'counter',
    help: 'Engines that ended without being told to, by why.',
    labels: ['model', 'why'],
  },
  helixflow_node_up: {
    type: 'gauge',
    help: '1 while the node says that it is there, 0 in the hour since it fell silent.',
    labels: ['node'],
  },
  helixflow_pool_leader: {
    type: 'gauge',
    help: '1 where this pool leads.',
    labels: [],
  },
  helixflow_pool_epoch: {
    type: 'gauge',
    help: 'The epoch of the pool that leads, as this one knows: each that begins to lead has a greater one.',
    labels: [],
  },
  helixflow_node_engines: {
    type: 'gauge',
    help: 'Engine processes that run on this machine.',
    labels: [],
  },
  helixflow_node_memory_pressure_ratio: {
    type: 'gauge',
    help: 'Share of the last 10 s in which something on this machine waited for memory, as Linux says.',
    labels: [],
  },
} as const satisfies Record<string, MetricDeclaration>

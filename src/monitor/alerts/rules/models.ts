import type { Query } from '../../query/query.ts'
import type { AlertRule } from '../rule.ts'
import { above, below, MINUTE_MS, share } from '../rule-parts.ts'

function memory(kind: 'used' | 'total'): Query {
  return {
    kind: 'gauge',
    combine: 'max',
    metric: 'helixflow_device_memory_bytes',
    where: { kind },
    by: ['device'],
  }
}

function temperature(severity: 'critical' | 'warning', bound: number): AlertRule {
  return {
    name: 'DeviceHot',
    severity,
    condition: above(
      { kind: 'gauge', combine: 'max', metric: 'helixflow_device_temperature_celsius', by: ['device'] },
      bound,
    ),
    forMs: 5 * MINUTE_MS,
    summary: 'The device {device} has {value} degrees.',
    meaning: 'It computes slower, and takes no new models once it says that it is too hot.',
    action: 'See to fans, dust and air; give it less to do until it is cooler.',
  }
}

/** Models, what they run on, and who decides about it. */
export const MODEL_RULES: readonly AlertRule[] = [
  {
    name: 'EngineCrashLoop',
    severity: 'critical',
    condition: above(
      {
        kind: 'increase',
        metric: 'helixflow_engine_exits_total',
        windowMs: 15 * MINUTE_MS,
        by: ['model'],
      },
      2,
    ),
    forMs: 0,
    summary: 'Engines of {model} ended by themselves about {value} times in a quarter of an hour.',
    meaning: 'Requests to it fail or are begun again; soon it is put in quarantine.',
    action: 'Read why in the log of the node; try the engine, another quantisation, or a shorter context.',
    explains: [{ alerts: ['CanaryFailing', 'ErrorRateHigh'], equal: ['model'] }],
  },
  {
    name: 'ModelsWaitForRoom',
    severity: 'warning',
    condition: above(
      { kind: 'gauge', combine: 'max', metric: 'helixflow_models_waiting', where: { reason: 'room' } },
      0,
    ),
    forMs: 3 * MINUTE_MS,
    summary: '{value} models are asked for and have no room on any device.',
    meaning: 'Their requests wait and are refused in the end: the memory of the pool is exhausted.',
    action: 'Unload or unpin what is not needed, or add a device.',
  },
  {
    name: 'DeviceMemoryFull',
    severity: 'warning',
    condition: above(share(memory('used'), memory('total')), 0.98),
    forMs: 10 * MINUTE_MS,
    summary: '{value percent} of the memory of the device {device} is in use.',
    meaning:
      'The next allocation may fail and end an engine; usually others than HelixFlow took what was left.',
    action: 'See which processes use it; leave more room with a smaller context or fewer models.',
  },
  temperature('critical', 95),
  temperature('warning', 86),
  {
    name: 'DeviceUnhealthy',
    severity: 'critical',
    condition: below(
      { kind: 'gauge', combine: 'max', metric: 'helixflow_device_healthy', by: ['device'] },
      1,
    ),
    forMs: 2 * MINUTE_MS,
    summary: 'The device {device} takes no models: it is lost, too hot, or no engine computes on it.',
    meaning: 'Its models move to others where there is room; the rest cannot be served.',
    action: 'Ask the device tools of its maker what it says; start the machine anew if it is lost.',
  },
  {
    name: 'NodeDown',
    severity: 'critical',
    condition: below({ kind: 'gauge', combine: 'max', metric: 'helixflow_node_up', by: ['node'] }, 1),
    forMs: MINUTE_MS,
    summary: 'The node {node} has fallen silent.',
    meaning: 'Its models are loaded elsewhere where there is room; the rest cannot be served.',
    action: 'See whether the machine runs and reaches the pool; start helixflow node there.',
    // Which device lies in which node only the pool knows.
    explains: [{ alerts: ['DeviceUnhealthy', 'CanaryFailing'] }],
  },
  {
    name: 'NodeMemoryPressure',
    severity: 'warning',
    condition: above(
      {
        kind: 'over',
        extreme: 'avg',
        combine: 'max',
        metric: 'helixflow_node_memory_pressure_ratio',
        windowMs: 5 * MINUTE_MS,
        by: ['instance'],
      },
      0.3,
    ),
    forMs: 5 * MINUTE_MS,
    summary: 'On the machine of {instance} something waits for memory {value percent} of the time.',
    meaning: 'Everything there is slow, and the system may end engines.',
    action: 'See what else runs there; lower engines.memoryLimit or unload models.',
  },
  {
    name: 'NoPoolLeader',
    severity: 'critical',
    condition: below({ kind: 'gauge', combine: 'sum', metric: 'helixflow_pool_leader' }, 1),
    forMs: MINUTE_MS,
    summary: 'No pool leads.',
    meaning: 'Models that are ready are served; none is loaded, moved or started again.',
    action: 'See whether the pools reach the database: who leads is decided there.',
  },
]

import { degraded, failed, type HealthCheck, percent } from './health-check.ts'

const CRASH_WINDOW_MS = 300_000
/** An engine that ends again and again serves nobody; one that ended once was started again. */
const CRASH_LOOP = 3
const HOT_CELSIUS = 90
const FOREIGN_SHARE_MAX = 0.9

const model = (labels: Readonly<Record<string, string>>) => labels['model'] ?? ''
const device = (labels: Readonly<Record<string, string>>) => labels['device'] ?? ''

/** Machines, devices, engines and models: what the pool, its nodes and the gateways tell of them. */
export const MODEL_CHECKS: readonly HealthCheck[] = [
  {
    kind: 'node',
    query: { kind: 'gauge', combine: 'max', metric: 'helixflow_node_up', by: ['node'] },
    name: (labels) => labels['node'] ?? '',
    judge: (up) =>
      up > 0
        ? undefined
        : failed(
            'it does not say that it is there',
            'Look whether the machine runs, whether `helixflow node` runs on it, and whether it reaches the pool.',
          ),
  },
  {
    kind: 'device',
    query: { kind: 'gauge', combine: 'min', metric: 'helixflow_device_healthy', by: ['device'] },
    name: device,
    judge: (healthy) =>
      healthy > 0
        ? undefined
        : failed(
            'it takes no models: it is hot, lost, or its node is',
            '`helixflow devices` shows the reason; of a lost card, the kernel log of its machine has more.',
          ),
  },
  {
    kind: 'device',
    query: { kind: 'gauge', combine: 'max', metric: 'helixflow_device_temperature_celsius', by: ['device'] },
    name: device,
    judge: (celsius) =>
      celsius < HOT_CELSIUS
        ? undefined
        : degraded(
            `it has ${celsius.toFixed(0)} °C`,
            'Look after its cooling, before it slows down or shuts off.',
          ),
  },
  {
    kind: 'device',
    query: {
      kind: 'ratio',
      of: {
        ...{ kind: 'gauge', combine: 'max', metric: 'helixflow_device_memory_bytes' },
        ...{ where: { kind: 'foreign' }, by: ['device'] },
      },
      to: {
        ...{ kind: 'gauge', combine: 'max', metric: 'helixflow_device_memory_bytes' },
        ...{ where: { kind: 'total' }, by: ['device'] },
      },
    },
    name: device,
    judge: (share) =>
      share < FOREIGN_SHARE_MAX
        ? undefined
        : degraded(
            `other programs hold ${percent(share)} of its memory`,
            'End them, or keep models off this device with models.perModel.devices.',
          ),
  },
  {
    kind: 'engine',
    query: {
      ...{
        kind: 'increase',
        windowMs: CRASH_WINDOW_MS,
        metric: 'helixflow_engine_exits_total',
        by: ['model'],
      },
    },
    name: model,
    judge: (exits) => {
      // What was extrapolated is no whole number.
      const count = Math.round(exits)
      if (count < 1) return undefined
      const reason = `it ended by itself ${count === 1 ? 'once' : `${count} times`} in the last five minutes`
      const remedy =
        'The log of its node says why; `helixflow explain --model MODEL` shows what is done about it.'
      return count < CRASH_LOOP ? degraded(reason, remedy) : failed(reason, remedy)
    },
  },
  {
    kind: 'model',
    query: { kind: 'gauge', combine: 'min', metric: 'helixflow_canary_healthy', by: ['model'] },
    name: model,
    judge: (healthy) =>
      healthy > 0
        ? undefined
        : failed(
            'a replica did not answer its test generation',
            '`helixflow models unload MODEL` and load it again; the log of its node says what its engine did.',
          ),
  },
]

import type { Query } from './query/query.ts'

/** A key figure whose course is kept, so that a machine alone has charts without anything else. */
export interface Figure {
  /** Of its history, for good: what was written under it must stay readable. */
  readonly name: string
  readonly title: string
  /** As it is shown: `1/s`, `s`, `ratio`, `bytes`. */
  readonly unit: string
  readonly query: Query
}

const WINDOW_MS = 60_000
/** Few answers in a minute say little about the slowest of twenty. */
const QUANTILE_WINDOW_MS = 300_000

/** What processes have each for itself, so that the platform has all of it together. */
const ADDED: ReadonlySet<string> = new Set([
  'helixflow_requests_in_flight',
  'helixflow_ws_connections',
  'helixflow_queue_depth',
  'helixflow_db_pool_connections',
  'helixflow_model_instances',
  'helixflow_model_memory_bytes',
])

/** Every figure of the history, in the order in which people want to see them. */
export const FIGURES: readonly Figure[] = [
  ...requestFigures(),
  ...waitingFigures(),
  ...modelFigures(),
  ...deviceFigures(),
  ...storageFigures(),
  ...processFigures(),
]

function requestFigures(): readonly Figure[] {
  const errors = { metric: 'helixflow_requests_total', where: { status: /5../ } } as const
  return [
    rate('requests', 'Requests', { metric: 'helixflow_requests_total' }),
    rate('model-requests', 'Requests by model', { metric: 'helixflow_requests_total', by: ['model'] }),
    {
      name: 'error-ratio',
      title: 'Share of requests that failed here',
      unit: 'ratio',
      query: {
        kind: 'ratio',
        orZero: true,
        of: { kind: 'rate', windowMs: QUANTILE_WINDOW_MS, ...errors },
        to: { kind: 'rate', windowMs: QUANTILE_WINDOW_MS, metric: 'helixflow_requests_total' },
      },
    },
    gauge('in-flight', 'Requests in work', '', { metric: 'helixflow_requests_in_flight' }),
    ...quantiles('first-token', 'Time to the first token', 'helixflow_time_to_first_token_seconds'),
    ...quantiles('output-token', 'Time per further token', 'helixflow_time_per_output_token_seconds'),
    ...quantiles('duration', 'Length of generations', 'helixflow_request_duration_seconds'),
    rate('tokens', 'Tokens by direction', { metric: 'helixflow_tokens_total', by: ['direction'] }),
    rate('model-tokens', 'Tokens made, by model', {
      metric: 'helixflow_tokens_total',
      where: { direction: 'completion' },
      by: ['model'],
    }),
    {
      name: 'cost',
      title: 'Cost by the price list',
      unit: '1/h',
      query: {
        kind: 'scale',
        of: { kind: 'rate', windowMs: WINDOW_MS, metric: 'helixflow_cost_total' },
        by: 3_600,
      },
    },
    gauge('sockets', 'Open WebSockets', '', { metric: 'helixflow_ws_connections' }),
  ]
}

function waitingFigures(): readonly Figure[] {
  // Each request is counted once under the first layer, wherever its answer lay.
  const hits = { outcome: ['hit', 'stale', 'coalesced'], layer: 'memory' } as const
  const asked = { outcome: ['hit', 'stale', 'coalesced', 'miss'], layer: 'memory' } as const
  const lookUps = { windowMs: QUANTILE_WINDOW_MS, metric: 'helixflow_cache_requests_total' } as const
  return [
    gauge('queue-depth', 'Requests that wait', '', { metric: 'helixflow_queue_depth' }),
    ...quantiles('queue-wait', 'Wait for a slot', 'helixflow_queue_wait_seconds'),
    rate('limited', 'Requests refused by limits', {
      metric: 'helixflow_ratelimit_decisions_total',
      where: { outcome: 'refused' },
    }),
    {
      name: 'cache-hits',
      title: 'Share of look-ups in the response cache that hit',
      unit: 'ratio',
      query: {
        kind: 'ratio',
        orZero: true,
        of: { kind: 'rate', ...lookUps, where: hits },
        to: { kind: 'rate', ...lookUps, where: asked },
      },
    },
  ]
}

function modelFigures(): readonly Figure[] {
  return [
    gauge('instances', 'Instances by state', '', { metric: 'helixflow_model_instances', by: ['state'] }),
    gauge('model-memory', 'Memory of models by device', 'bytes', {
      metric: 'helixflow_model_memory_bytes',
      by: ['model', 'device'],
    }),
    {
      name: 'loads',
      title: 'Models loaded',
      unit: '1/s',
      query: { kind: 'observed', windowMs: QUANTILE_WINDOW_MS, metric: 'helixflow_model_load_seconds' },
    },
    rate('evictions', 'Models evicted', { metric: 'helixflow_model_evictions_total' }),
    rate('engine-exits', 'Engines that ended by themselves', { metric: 'helixflow_engine_exits_total' }),
  ]
}

function deviceFigures(): readonly Figure[] {
  return [
    gauge('device-memory', 'Memory of devices', 'bytes', {
      metric: 'helixflow_device_memory_bytes',
      by: ['device', 'kind'],
    }),
    gauge('device-utilisation', 'Devices computing', 'ratio', {
      metric: 'helixflow_device_utilization_ratio',
      by: ['device'],
    }),
    gauge('device-temperature', 'Temperature of devices', 'celsius', {
      metric: 'helixflow_device_temperature_celsius',
      by: ['device'],
    }),
    gauge('device-power', 'Power of devices', 'watts', {
      metric: 'helixflow_device_power_watts',
      by: ['device'],
    }),
  ]
}

function storageFigures(): readonly Figure[] {
  return [
    gauge('db-connections', 'Connections to the database', '', {
      metric: 'helixflow_db_pool_connections',
      by: ['state'],
    }),
    quantile(
      'db-acquire-p95',
      'Wait for a connection, 95th percentile',
      0.95,
      'helixflow_db_acquire_seconds',
    ),
    quantile('db-query-p95', 'Statements, 95th percentile', 0.95, 'helixflow_db_query_seconds'),
    gauge('db-size', 'Size of the database', 'bytes', { metric: 'helixflow_db_size_bytes' }),
    gauge('replica-lag', 'Log that replicas lack', 'bytes', {
      metric: 'helixflow_db_replica_lag_bytes',
      by: ['replica'],
    }),
    gauge('disk-free', 'Free room on disks', 'bytes', {
      metric: 'helixflow_disk_free_bytes',
      by: ['instance', 'place'],
    }),
  ]
}

function processFigures(): readonly Figure[] {
  return [
    gauge('loop-lag', 'Lateness of the event loop, 99th percentile', 's', {
      metric: 'helixflow_event_loop_lag_seconds',
      where: { share: '0.99' },
      by: ['instance', 'role'],
    }),
    {
      name: 'cpu',
      title: 'Processors in use by processes',
      unit: '',
      query: {
        kind: 'rate',
        windowMs: WINDOW_MS,
        metric: 'process_cpu_seconds_total',
        by: ['instance', 'role'],
      },
    },
    gauge('resident-memory', 'Memory of processes', 'bytes', {
      metric: 'process_resident_memory_bytes',
      by: ['instance', 'role'],
    }),
  ]
}

type Of<Kind extends Query['kind']> = Extract<Query, { kind: Kind }>
/** Of a union each member by itself, so that a metric stays with its own labels. */
type Without<One, Names extends string> = One extends unknown ? Omit<One, Names> : never

function gauge(
  name: string,
  title: string,
  unit: string,
  selection: Without<Of<'gauge'>, 'kind' | 'combine'>,
): Figure {
  // Several processes may tell of one device or database; what is a part of a whole has labels of its own.
  const combine = ADDED.has(selection.metric) ? 'sum' : 'max'
  return { name, title, unit, query: { kind: 'gauge', combine, ...selection } as Of<'gauge'> }
}

function rate(name: string, title: string, selection: Without<Of<'rate'>, 'kind' | 'windowMs'>): Figure {
  const query = { kind: 'rate', windowMs: WINDOW_MS, ...selection } as Of<'rate'>
  return { name, title, unit: '1/s', query }
}

function quantiles(name: string, title: string, metric: Of<'quantile'>['metric']): readonly Figure[] {
  return [
    quantile(`${name}-p50`, `${title}, median`, 0.5, metric),
    quantile(`${name}-p95`, `${title}, 95th percentile`, 0.95, metric),
  ]
}

function quantile(name: string, title: string, share: number, metric: Of<'quantile'>['metric']): Figure {
  const query = { kind: 'quantile', quantile: share, windowMs: QUANTILE_WINDOW_MS, metric } as Of<'quantile'>
  return { name, title, unit: 's', query }
}

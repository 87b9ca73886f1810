import { bucketLabel } from '../../src/core/metrics/bucket-label.ts'
import {
  type CounterName,
  type GaugeName,
  type HistogramName,
  type LabelsOf,
  METRICS,
} from '../../src/core/metrics.ts'

/** A series that says one thing while all is well and another while something is wrong. */
export interface ExampleSeries {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  /** A counter's are what it grows by in a minute. */
  readonly counter: boolean
  readonly good: number | undefined
  readonly bad: number | undefined
}

/** What makes one alert fire: well, then wrong, then well again. */
export interface AlertExample {
  readonly series: readonly ExampleSeries[]
  readonly stepMs?: number
  readonly goodMs?: number
  readonly badMs?: number
  readonly afterMs?: number
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const GIB = 1024 ** 3
const DAY_SECONDS = 86_400

const failing = [
  counter('helixflow_requests_total', request('m', '200'), 60, 30),
  counter('helixflow_requests_total', request('m', '503'), 0, 30),
]
const slowFirstTokens = histogram('helixflow_time_to_first_token_seconds', { model: 'm' }, [0.2, 7], 60)
const longBurn = { stepMs: MINUTE, goodMs: 30 * MINUTE, badMs: 2 * HOUR, afterMs: 6.5 * HOUR }

/** For every rule, by its id, at least one. */
export const ALERT_EXAMPLES: Readonly<Record<string, AlertExample>> = {
  'AvailabilityBudgetBurn critical': { series: failing, afterMs: HOUR },
  'AvailabilityBudgetBurn warning': { series: failing, ...longBurn },
  'FirstTokenBudgetBurn critical': {
    series: slowFirstTokens,
    ...{ stepMs: MINUTE, badMs: 58 * MINUTE, afterMs: HOUR },
  },
  'FirstTokenBudgetBurn warning': { series: slowFirstTokens, ...longBurn },
  'ErrorRateHigh warning': { series: failing },
  'FirstTokenSlow warning': { series: slowFirstTokens },
  'TokensSlow warning': {
    series: histogram('helixflow_time_per_output_token_seconds', { model: 'm' }, [0.02, 0.4], 30),
  },
  'QueueWaitLong warning': {
    series: histogram('helixflow_queue_wait_seconds', { model: 'm' }, [0.02, 20], 30),
  },
  'QueueDeep warning': { series: [gauge('helixflow_queue_depth', { model: 'm' }, 2, 40)] },
  'CanaryFailing critical': { series: [gauge('helixflow_canary_healthy', { model: 'm' }, 1, 0)] },
  'CacheCollapse warning': {
    series: [
      counter('helixflow_cache_requests_total', { layer: 'memory', outcome: 'hit' }, 30, 1),
      counter('helixflow_cache_requests_total', { layer: 'memory', outcome: 'miss' }, 30, 59),
    ],
    ...{ stepMs: MINUTE, goodMs: 2 * HOUR, badMs: HOUR },
  },
  'UpstreamCircuitOpen warning': {
    series: [gauge('helixflow_upstream_circuit_open', { replica: 'elsewhere' }, 0, 1)],
  },
  'LimiterFallback warning': { series: [gauge('helixflow_ratelimit_fallback_active', {}, 0, 1)] },
  'UsageSpoolFilling warning': { series: [gauge('helixflow_usage_spool_bytes', {}, 2000, 9_000_000)] },
  'UsageSpoolFull critical': { series: [gauge('helixflow_usage_spool_full', {}, 0, 1)] },
  'BudgetUsed warning': { series: [gauge('helixflow_budget_used_ratio', { rule: 'r1' }, 0.5, 1.01)] },
  'BudgetUsed info': { series: [gauge('helixflow_budget_used_ratio', { rule: 'r1' }, 0.5, 0.85)] },
  'BudgetDrift warning': { series: [gauge('helixflow_budget_drift', {}, 0, 0.25)], badMs: 30 * MINUTE },
  'EngineCrashLoop critical': {
    series: [counter('helixflow_engine_exits_total', { model: 'm', why: 'crash' }, 0, 1)],
  },
  'ModelsWaitForRoom warning': { series: [gauge('helixflow_models_waiting', { reason: 'room' }, 0, 2)] },
  'DeviceMemoryFull warning': {
    series: [
      gauge('helixflow_device_memory_bytes', { device: 'GPU-1', kind: 'used' }, 40 * GIB, 79 * GIB),
      gauge('helixflow_device_memory_bytes', { device: 'GPU-1', kind: 'total' }, 80 * GIB, 80 * GIB),
    ],
  },
  'DeviceHot critical': {
    series: [gauge('helixflow_device_temperature_celsius', { device: 'GPU-1' }, 60, 97)],
  },
  'DeviceHot warning': {
    series: [gauge('helixflow_device_temperature_celsius', { device: 'GPU-1' }, 60, 88.25)],
  },
  'DeviceUnhealthy critical': { series: [gauge('helixflow_device_healthy', { device: 'GPU-1' }, 1, 0)] },
  'NodeDown critical': { series: [gauge('helixflow_node_up', { node: 'a' }, 1, 0)] },
  'NodeMemoryPressure warning': {
    series: [gauge('helixflow_node_memory_pressure_ratio', {}, 0.01, 0.61)],
  },
  'NoPoolLeader critical': { series: [gauge('helixflow_pool_leader', {}, 1, 0)] },
  'DatabaseDown critical': { series: [gauge('helixflow_db_up', {}, 1, 0)] },
  'ReplicaDown warning': { series: [gauge('helixflow_db_replica_up', { replica: 'b:5432' }, 1, 0)] },
  'ReplicaLag warning': {
    series: [gauge('helixflow_db_replica_lag_bytes', { replica: 'b:5432' }, 0, 3e9)],
  },
  'ConnectionPoolExhausted critical': {
    series: [gauge('helixflow_db_pool_connections', { state: 'waiting' }, 0, 7)],
  },
  'ConnectionWaitLong warning': { series: histogram('helixflow_db_acquire_seconds', {}, [0.001, 0.4], 90) },
  'RedisDown critical': { series: [gauge('helixflow_redis_up', {}, 1, 0)] },
  'DiskFilling critical': { series: disk(0.9 * GIB) },
  'DiskFilling warning': { series: disk(9 * GIB) },
  'CertificateExpiring critical': { series: certificate(2) },
  'CertificateExpiring warning': { series: certificate(10) },
  'BackupMissing warning': { series: backups(1e6, 0), badMs: 2.5 * HOUR },
  'BackupOld warning': { series: backups(1e6, 1), badMs: 90 * MINUTE },
  'BackupFailing warning': {
    series: [counter('helixflow_backup_failures_total', {}, 0, 0.1)],
    ...{ stepMs: MINUTE, afterMs: 7 * HOUR },
  },
  'ServiceDown critical': {
    series: [gauge('helixflow_target_up', { role: 'auth', target: '10.0.0.4:9464' }, 1, 0)],
  },
  'MonitorAbsent critical': {
    series: [gauge('helixflow_target_up', { role: 'auth', target: '10.0.0.4:9464' }, 1, undefined)],
    badMs: 30 * MINUTE,
  },
  'EventLoopSlow warning': {
    series: [gauge('helixflow_event_loop_lag_seconds', { quantile: '0.99' }, 0.01, 0.9)],
  },
  'ProcessMemoryHigh warning': {
    series: [gauge('process_resident_memory_bytes', {}, GIB, 4 * GIB)],
    badMs: 30 * MINUTE,
  },
  'FilesShort warning': {
    series: [gauge('process_open_fds', {}, 100, 950), gauge('process_max_fds', {}, 1024, 1024)],
  },
  'MetricOverflow info': {
    series: [counter('helixflow_metric_overflow_total', { metric: 'helixflow_requests_total' }, 0, 5)],
  },
  'LogLinesDropped warning': { series: [counter('helixflow_log_dropped_total', {}, 0, 50)] },
  'SpansDropped info': {
    series: [counter('helixflow_trace_spans_dropped_total', {}, 0, 9)],
    badMs: 30 * MINUTE,
  },
  'NotificationsFailing warning': {
    series: [counter('helixflow_notifications_total', { receiver: 'mail', outcome: 'retried' }, 0, 2)],
  },
  'HistoryNotWritten warning': { series: [counter('helixflow_history_failures_total', {}, 0, 6)] },
}

/** What never makes an alert: nobody asks for anything, or so little that it says nothing. */
export const QUIET_EXAMPLES: Readonly<Record<string, AlertExample>> = {
  'no traffic': {
    series: [
      ...failing.map((one) => ({ ...one, good: 0, bad: 0 })),
      ...slowFirstTokens.map((one) => ({ ...one, good: 0, bad: 0 })),
    ],
  },
  'a failure now and then among few requests': {
    series: [
      counter('helixflow_requests_total', request('m', '200'), 0.2, 0.2),
      counter('helixflow_requests_total', request('m', '503'), 0, 0.2),
    ],
    badMs: HOUR,
  },
  'a slow stream now and then': {
    series: histogram('helixflow_time_to_first_token_seconds', { model: 'm' }, [0.2, 30], 0.2),
    badMs: HOUR,
  },
  'what callers themselves do wrong': {
    series: [
      counter('helixflow_requests_total', request('m', '200'), 60, 1),
      counter('helixflow_requests_total', request('m', '429'), 0, 100),
    ],
  },
}

function request(model: string, status: string): LabelsOf<'helixflow_requests_total'> {
  return { route: '/v1/chat/completions', model, status }
}

function gauge<Name extends GaugeName>(
  name: Name,
  labels: LabelsOf<Name>,
  good: number | undefined,
  bad: number | undefined,
): ExampleSeries {
  return { name, labels, counter: false, good, bad }
}

function counter<Name extends CounterName>(
  name: Name,
  labels: LabelsOf<Name>,
  good: number,
  bad: number,
): ExampleSeries {
  return { name, labels, counter: true, good, bad }
}

/** So many observations a minute of one value, and then of the other. */
function histogram<Name extends HistogramName>(
  name: Name,
  labels: LabelsOf<Name>,
  [good, bad]: readonly [number, number],
  perMinute: number,
): ExampleSeries[] {
  const ends = [...METRICS[name].buckets, Number.POSITIVE_INFINITY]
  return [
    ...ends.map((end) => ({
      name: `${name}_bucket`,
      labels: { ...labels, le: bucketLabel(end) },
      counter: true,
      good: good <= end ? perMinute : 0,
      bad: bad <= end ? perMinute : 0,
    })),
    { name: `${name}_sum`, labels, counter: true, good: good * perMinute, bad: bad * perMinute },
    { name: `${name}_count`, labels, counter: true, good: perMinute, bad: perMinute },
  ]
}

function disk(freeBytes: number): ExampleSeries[] {
  return [
    gauge('helixflow_disk_free_bytes', { place: 'data' }, 60 * GIB, freeBytes),
    gauge('helixflow_disk_total_bytes', { place: 'data' }, 100 * GIB, 100 * GIB),
  ]
}

/** Time begins at 0 in examples. */
function certificate(days: number): ExampleSeries[] {
  const name = 'helixflow_certificate_expiry_timestamp_seconds'
  return [gauge(name, { certificate: 'rpc' }, 90 * DAY_SECONDS, days * DAY_SECONDS)]
}

function backups(good: number, bad: number): ExampleSeries[] {
  return [
    gauge('helixflow_backup_last_success_timestamp_seconds', {}, good, bad),
    gauge('helixflow_backup_expected_interval_seconds', {}, 600, 600),
  ]
}

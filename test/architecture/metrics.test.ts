import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { METRICS_PAGE, metricsPage, unlisted } from '../../scripts/gen-docs.ts'
import { METRICS } from '../../src/core/metrics.ts'

const src = join(import.meta.dirname, '..', '..', 'src')

/** Whose parts are not there yet. */
const UNSET: readonly string[] = [
  'helixflow_alerts',
  'helixflow_backup_expected_interval_seconds',
  'helixflow_backup_failures_total',
  'helixflow_backup_last_success_timestamp_seconds',
  'helixflow_budget_used_ratio',
  'helixflow_canary_failures_total',
  'helixflow_canary_healthy',
  'helixflow_canary_seconds',
  'helixflow_certificate_expiry_timestamp_seconds',
  'helixflow_component_healthy',
  'helixflow_db_acquire_seconds',
  'helixflow_db_failures_total',
  'helixflow_db_pool_connections',
  'helixflow_db_pool_connections_max',
  'helixflow_db_query_seconds',
  'helixflow_db_replica_lag_bytes',
  'helixflow_db_replica_up',
  'helixflow_db_retries_total',
  'helixflow_db_size_bytes',
  'helixflow_db_up',
  'helixflow_decide_seconds',
  'helixflow_disk_free_bytes',
  'helixflow_disk_total_bytes',
  'helixflow_engine_exits_total',
  'helixflow_eviction_regrets_total',
  'helixflow_history_failures_total',
  'helixflow_history_points_total',
  'helixflow_log_dropped_total',
  'helixflow_model_memory_bytes',
  'helixflow_models_waiting',
  'helixflow_monitor_round_seconds',
  'helixflow_node_engines',
  'helixflow_node_memory_pressure_ratio',
  'helixflow_node_up',
  'helixflow_notifications_total',
  'helixflow_pool_epoch',
  'helixflow_pool_leader',
  'helixflow_prefetch_active',
  'helixflow_prefetch_precision_ratio',
  'helixflow_redis_reconnects_total',
  'helixflow_redis_up',
  'helixflow_target_up',
  'helixflow_trace_spans_dropped_total',
]

const sources = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
  .filter((name) => !name.startsWith(join('core', 'metrics')))
const setters = sources
  .map((name) => readFileSync(join(src, name), 'utf8'))
  .flatMap((text) => [...text.matchAll(/\.(?:add|set|observe)\(\s*'([a-z_]+)'/g)].map(([, name]) => name))

test('every metric that is declared is set by real code', () => {
  const unset = Object.keys(METRICS).filter((name) => !setters.includes(name))
  expect(unset.filter((name) => !UNSET.includes(name))).toEqual([])
})

test('docs/metrics.md lists every metric as it is declared (npm run gen)', () => {
  const page = readFileSync(METRICS_PAGE, 'utf8')
  expect(page).toBe(metricsPage(page))
  expect(unlisted()).toEqual([])
})

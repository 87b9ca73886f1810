import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { METRICS_PAGE, metricsPage, unlisted } from '../../scripts/gen-docs.ts'
import { METRICS } from '../../src/core/metrics.ts'

const src = join(import.meta.dirname, '..', '..', 'src')

/** Whose parts are not there yet. */
const UNSET: readonly string[] = [
  'helixflow_alerts',
  'helixflow_budget_used_ratio',
  'helixflow_canary_failures_total',
  'helixflow_canary_healthy',
  'helixflow_canary_seconds',
  'helixflow_component_healthy',
  'helixflow_history_failures_total',
  'helixflow_history_points_total',
  'helixflow_monitor_round_seconds',
  'helixflow_notifications_total',
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

import { describe, expect, test } from 'vitest'
import { HEALTH_CHECKS, judgeHealth } from './health.ts'
import { evaluate } from './query/evaluate.ts'
import { SampleNeeds } from './query/sample-needs.ts'
import { SampleStore } from './query/samples.ts'

const NOW = Date.UTC(2026, 10, 28, 12)
const SECONDS = NOW / 1_000
const HERE = { instance: 'here:9464', role: 'all' }

type Said = readonly [name: string, value: number, labels?: Readonly<Record<string, string>>]

/** What one process said for a minute, and last. */
function judge(last: readonly Said[], before: readonly Said[] = last, databaseProblem?: string) {
  const needs = new SampleNeeds(HEALTH_CHECKS.flatMap(({ query, also = [] }) => [query, ...also]))
  const store = new SampleStore(needs)
  const take = (said: readonly Said[], atMs: number) =>
    store.take(
      HERE,
      said.map(([name, value, labels = {}]) => ({ name, value, labels })),
      atMs,
    )
  for (let ago = 60; ago > 0; ago -= 10) take(before, NOW - ago * 1_000)
  take(last, NOW)
  return judgeHealth({
    targets: [HERE],
    databaseProblem,
    ask: (query) => evaluate(query, store, NOW),
    nowMs: NOW,
  })
}

/** A platform that has just started, with nothing loaded. */
const FRESH: readonly Said[] = [
  ['helixflow_event_loop_lag_seconds', 0.011, { share: '0.99' }],
  ['helixflow_usage_spool_bytes', 0],
  ['helixflow_usage_spool_full', 0],
  ['helixflow_gateway_draining', 0],
  ['helixflow_node_up', 1, { node: 'n1' }],
  ['helixflow_device_healthy', 1, { device: 'GPU-1' }],
  ['helixflow_device_temperature_celsius', 41, { device: 'GPU-1' }],
  ['helixflow_device_memory_bytes', 80e9, { device: 'GPU-1', kind: 'total' }],
  ['helixflow_device_memory_bytes', 1e9, { device: 'GPU-1', kind: 'foreign' }],
  ['helixflow_db_up', 1],
  ['helixflow_db_pool_connections', 0, { state: 'waiting' }],
  ['helixflow_disk_free_bytes', 400e9, { place: 'data' }],
  ['helixflow_disk_total_bytes', 500e9, { place: 'data' }],
  ['helixflow_backup_expected_interval_seconds', 0],
  ['helixflow_backup_last_success_timestamp_seconds', 0],
  ['process_start_time_seconds', SECONDS - 5],
]

/** The same, with other values for single series, and some more. */
function with_(...changed: readonly Said[]): readonly Said[] {
  const key = ([name, , labels = {}]: Said) => name + JSON.stringify(labels)
  const keys = new Set(changed.map(key))
  return [...FRESH.filter((one) => !keys.has(key(one))), ...changed]
}

test('a fresh start with nothing loaded is healthy, and says so of every component', () => {
  const report = judge(FRESH)
  expect(report).toMatchObject({ verdict: 'healthy', reasons: [], atMs: NOW })
  expect(report.components.map(({ kind, name, health }) => `${kind} ${name} ${health}`).sort()).toEqual([
    'backup of here:9464 healthy',
    'database primary healthy',
    'device GPU-1 healthy',
    'disk data at here:9464 healthy',
    'node n1 healthy',
    'service all here:9464 healthy',
  ])
})

test('a process that says nothing at all is no fault of other components', () => {
  expect(judge([])).toMatchObject({ verdict: 'healthy', components: [{ kind: 'service' }] })
})

const GPU = { device: 'GPU-1' }

describe('trouble has a verdict, a reason and a remedy', () => {
  test.each<[string, 'degraded' | 'failed', readonly Said[]]>([
    ['database primary', 'failed', [['helixflow_db_up', 0]]],
    ['database primary', 'degraded', [['helixflow_db_pool_connections', 7, { state: 'waiting' }]]],
    ['redis redis', 'degraded', [['helixflow_redis_up', 0]]],
    ['redis redis', 'degraded', [['helixflow_ratelimit_fallback_active', 1]]],
    ['replica r1:5432', 'degraded', [['helixflow_db_replica_up', 0, { replica: 'r1:5432' }]]],
    ['replica r1:5432', 'degraded', [['helixflow_db_replica_lag_bytes', 1e9, { replica: 'r1:5432' }]]],
    // The only one of its kind: nothing is served.
    ['node n1', 'failed', [['helixflow_node_up', 0, { node: 'n1' }]]],
    ['device GPU-1', 'failed', [['helixflow_device_healthy', 0, GPU]]],
    ['node n2', 'degraded', [['helixflow_node_up', 0, { node: 'n2' }]]],
    ['device GPU-2', 'degraded', [['helixflow_device_healthy', 0, { device: 'GPU-2' }]]],
    ['device GPU-1', 'degraded', [['helixflow_device_temperature_celsius', 93, GPU]]],
    ['device GPU-1', 'degraded', [['helixflow_device_memory_bytes', 79e9, { ...GPU, kind: 'foreign' }]]],
    ['model tiny', 'degraded', [['helixflow_canary_healthy', 0, { model: 'tiny' }]]],
    ['disk data at here:9464', 'degraded', [['helixflow_disk_free_bytes', 9e9, { place: 'data' }]]],
    ['disk data at here:9464', 'degraded', [['helixflow_disk_free_bytes', 4e8, { place: 'data' }]]],
    ['service all here:9464', 'degraded', [['helixflow_event_loop_lag_seconds', 0.4, { share: '0.99' }]]],
    ['service all here:9464', 'failed', [['helixflow_usage_spool_full', 1]]],
    [
      'certificate rpc at here:9464',
      'degraded',
      [['helixflow_certificate_expiry_timestamp_seconds', SECONDS + 86_400, { certificate: 'rpc' }]],
    ],
    [
      'backup of here:9464',
      'degraded',
      [
        ['helixflow_backup_expected_interval_seconds', 3_600],
        ['helixflow_backup_last_success_timestamp_seconds', SECONDS - 9_000],
        ['process_start_time_seconds', SECONDS - 90_000],
      ],
    ],
  ])('%s, %s: %j', (component, verdict, changed) => {
    const report = judge(with_(...changed))
    expect(report.verdict).toBe(verdict)
    expect(report.reasons).toHaveLength(1)
    expect(report.reasons[0]).toContain(component)
    const [worst] = report.components
    expect(`${worst?.kind} ${worst?.name}`).toBe(component)
    expect(worst?.reason).toMatch(/\w/)
    expect(worst?.remedy).toMatch(/\w/)
  })

  test('an engine that ended is told of, and one that ends again and again has failed', () => {
    const ended = (count: number): Said => [
      'helixflow_engine_exits_total',
      count,
      { model: 'tiny', why: 'crashed' },
    ]
    expect(judge(with_(ended(5)), with_(ended(5))).verdict).toBe('healthy')
    const once = judge(with_(ended(6)), with_(ended(5))).components[0]
    expect(once).toMatchObject({ kind: 'engine', name: 'tiny', health: 'degraded' })
    const often = judge(with_(ended(9)), with_(ended(5))).components[0]
    expect(often).toMatchObject({ kind: 'engine', name: 'tiny', health: 'failed' })
  })

  test('no backup yet is no fault until one was due', () => {
    const due = ['helixflow_backup_expected_interval_seconds', 3_600] as const
    expect(judge(with_(due)).verdict).toBe('healthy')
    const report = judge(with_(due, ['process_start_time_seconds', SECONDS - 7_300]))
    expect(report.reasons).toEqual(['backup of here:9464: there is none, and one is due every 60 minutes'])
  })

  test('who waits for a connection only now and then is no fault', () => {
    expect(judge(with_(['helixflow_db_pool_connections', 7, { state: 'waiting' }]), FRESH).verdict).toBe(
      'healthy',
    )
  })

  test('a database that the monitor cannot reach has failed, whatever others say', () => {
    const report = judge(FRESH, FRESH, 'it did not answer in time')
    expect(report).toMatchObject({
      verdict: 'failed',
      reasons: ['database primary: it did not answer in time'],
    })
  })
})

describe('of several processes of a role', () => {
  const of = (...problems: readonly (string | undefined)[]) =>
    judgeHealth({
      targets: problems.map((problem, at) => ({ instance: `g${at}:1`, role: 'gateway', problem })),
      databaseProblem: undefined,
      ask: () => [],
      nowMs: NOW,
    })

  test('one that is silent makes the platform degraded, and all of them make it failed', () => {
    expect(of(undefined, undefined).verdict).toBe('healthy')
    expect(of('nobody listens there', undefined)).toMatchObject({
      verdict: 'degraded',
      components: [{ name: 'gateway g0:1', health: 'failed' }, { health: 'healthy' }],
    })
    expect(of('nobody listens there', 'nobody listens there').verdict).toBe('failed')
  })

  test('a silent monitor serves no requests and fails none', () => {
    const targets = [{ instance: 'm:1', role: 'monitor', problem: 'nobody listens there' }]
    const report = judgeHealth({ targets, databaseProblem: undefined, ask: () => [], nowMs: NOW })
    expect(report.verdict).toBe('degraded')
  })

  test('a role that is silent fails nothing where one process is everything', () => {
    const targets = [
      { instance: 'all:1', role: 'all', problem: undefined },
      { instance: 'g:1', role: 'gateway', problem: 'nobody listens there' },
    ]
    const report = judgeHealth({ targets, databaseProblem: undefined, ask: () => [], nowMs: NOW })
    expect(report.verdict).toBe('degraded')
  })
})

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bucketLabel } from '../../../src/core/metrics/bucket-label.ts'
import type { Sample } from '../../../src/core/metrics/sample.ts'
import { METRICS } from '../../../src/core/metrics.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { evaluate, evaluateCondition } from '../../../src/monitor/query/evaluate.ts'
import { promql, promqlOfCondition } from '../../../src/monitor/query/promql.ts'
import type { Condition, Query } from '../../../src/monitor/query/query.ts'
import { SampleNeeds } from '../../../src/monitor/query/sample-needs.ts'
import { SampleStore } from '../../../src/monitor/query/samples.ts'
import { PrometheusServer, promtool } from '../../support/prometheus.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const BEGIN = Date.UTC(2026, 0, 5, 1)
const END = BEGIN + 8 * HOUR

const requests: Query = {
  kind: 'rate',
  metric: 'helixflow_requests_total',
  windowMs: 5 * MINUTE,
  by: ['model'],
}
const errors: Query = { ...requests, where: { status: /5../ } }
const firstTokens = { metric: 'helixflow_time_to_first_token_seconds', windowMs: 5 * MINUTE } as const

/** Every kind of question, short windows and long ones. */
const QUERIES: readonly Query[] = [
  { kind: 'gauge', combine: 'sum', metric: 'helixflow_queue_depth' },
  { kind: 'gauge', combine: 'max', metric: 'helixflow_queue_depth', by: ['model'] },
  { kind: 'gauge', combine: 'min', metric: 'helixflow_queue_depth', by: ['instance', 'role'] },
  { kind: 'gauge', combine: 'avg', metric: 'helixflow_queue_depth', where: { model: ['a', 'b.c'] } },
  { kind: 'over', combine: 'max', extreme: 'avg', metric: 'helixflow_queue_depth', windowMs: 10 * MINUTE },
  {
    kind: 'over',
    combine: 'sum',
    extreme: 'max',
    metric: 'helixflow_queue_depth',
    windowMs: MINUTE,
    by: ['model'],
  },
  {
    kind: 'over',
    combine: 'sum',
    extreme: 'min',
    metric: 'helixflow_queue_depth',
    windowMs: HOUR,
    by: ['model'],
  },
  { kind: 'age', combine: 'max', metric: 'process_start_time_seconds', by: ['instance'] },
  requests,
  { ...requests, windowMs: MINUTE, by: ['instance', 'model'] },
  { ...requests, windowMs: 30 * MINUTE },
  { ...requests, windowMs: HOUR, by: [] },
  { ...requests, windowMs: 6 * HOUR },
  { ...requests, kind: 'increase', windowMs: HOUR, where: { model: 'a' } },
  { kind: 'ratio', of: errors, to: requests },
  { kind: 'ratio', of: { ...errors, where: { status: '418' } }, to: requests, orZero: true },
  { kind: 'ratio', of: requests, to: { ...requests, by: [] } },
  { kind: 'difference', of: requests, less: errors },
  { kind: 'scale', of: { kind: 'sum', of: requests, and: { ...requests, by: [] } }, by: -2.5 },
  { kind: 'quantile', quantile: 0.5, ...firstTokens, by: ['model'] },
  { kind: 'quantile', quantile: 0.99, ...firstTokens },
  { kind: 'quantile', quantile: 0.95, ...firstTokens, windowMs: HOUR, by: ['model'] },
  { kind: 'mean', ...firstTokens, by: ['model'] },
  { kind: 'observed', ...firstTokens },
  { kind: 'observed', ...firstTokens, atMost: 2, by: ['model'] },
  { kind: 'observed', ...firstTokens, atMost: 2, windowMs: 6 * HOUR, by: ['model'] },
]

const CONDITIONS: readonly Condition[] = [
  { kind: 'above', query: requests, bound: 1 },
  { kind: 'below', query: requests, bound: { kind: 'scale', of: { ...requests, windowMs: HOUR }, by: 1 } },
  { kind: 'below', query: requests, bound: { kind: 'scale', of: { ...requests, by: [] }, by: 0.5 } },
  {
    kind: 'all',
    of: [
      { kind: 'above', query: requests, bound: 0 },
      { kind: 'above', query: errors, bound: 0.01 },
      { kind: 'above', query: { ...requests, by: [] }, bound: 0.5 },
    ],
  },
  { kind: 'absent', metric: 'helixflow_target_up' },
  { kind: 'absent', metric: 'helixflow_queue_depth' },
]

describe.each([1, 2])('what the monitor answers, from the same readings (seed %i)', (seed) => {
  let refused = 0
  const store = new SampleStore(
    new SampleNeeds([...QUERIES, requests, errors, { ...requests, windowMs: HOUR }]),
  )
  const folder = mkdtempSync(join(tmpdir(), 'helixflow-answers-'))
  const moments = [3 * MINUTE, 11 * MINUTE, 70 * MINUTE, 7 * HOUR, 7.9 * HOUR].map(
    (after) => BEGIN + after + 1234,
  )
  const ours = new Map<string, readonly { labels: object; value: number }[]>()
  let prometheus: PrometheusServer

  beforeAll(async () => {
    const lines = new Map<string, string[]>()
    const asked = [...moments]
    for (const reading of readings(seed)) {
      while (asked[0] !== undefined && asked[0] < reading.atMs) ask(asked.shift() ?? 0)
      refused += store.take(reading.target, reading.samples, reading.atMs)
      write(lines, reading)
    }
    const file = join(folder, 'readings.txt')
    writeFileSync(file, `${[...lines.values()].flat().join('\n')}\n# EOF\n`)
    const made = await promtool('tsdb', 'create-blocks-from', 'openmetrics', '-q', file, join(folder, 'data'))
    expect(made.succeeded, made.text).toBe(true)
    prometheus = await PrometheusServer.start('{}', {}, [
      `--storage.tsdb.path=${join(folder, 'data')}`,
      '--storage.tsdb.retention.time=100y',
    ])
  })

  afterAll(async () => {
    await prometheus?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  function ask(atMs: number): void {
    for (const query of QUERIES) ours.set(`${promql(query)} ${atMs}`, evaluate(query, store, atMs))
    for (const condition of CONDITIONS)
      ours.set(`${promqlOfCondition(condition)} ${atMs}`, evaluateCondition(condition, store, atMs))
  }

  test.each([...QUERIES.map(promql), ...CONDITIONS.map(promqlOfCondition)])('%s', async (expression) => {
    for (const atMs of moments) {
      const theirs = (await prometheus.query(expression, atMs)).filter(({ value }) => !Number.isNaN(value))
      const mine = ours.get(`${expression} ${atMs}`) ?? []
      const byLabels = new Map(mine.map(({ labels, value }) => [textOf(labels), value]))
      expect([...byLabels.keys()].sort()).toEqual(theirs.map(({ metric }) => textOf(metric)).sort())
      for (const { metric, value } of theirs) {
        const difference = Math.abs((byLabels.get(textOf(metric)) ?? 0) - value)
        expect(difference, `${textOf(metric)} ${value}`).toBeLessThanOrEqual(Math.abs(value) * 0.01 + 1e-9)
      }
    }
  })

  test('in bounded memory', () => {
    const series = 2 * (3 * 2 + 3 + 1 + 3 * 16)
    expect(store.bytes).toBeLessThan(series * 512 * 24)
    expect(refused).toBe(0)
  })
})

interface Reading {
  readonly target: { readonly instance: string; readonly role: string }
  readonly samples: readonly Sample[]
  readonly atMs: number
}

/** Two gateways under a load that changes, which begin again now and then and are not always read. */
function* readings(seed: number): Generator<Reading> {
  const { uniform: random } = seededRandom(seed)
  const gateways = ['one:9464', 'two:9464'].map((instance) => new Gateway(instance, random))
  for (let atMs = BEGIN; atMs < END; atMs += 15_000) {
    for (const gateway of gateways) {
      gateway.work(atMs)
      // Never near one another, as in a real round.
      if (random() > 0.03)
        yield {
          target: { instance: gateway.instance, role: 'gateway' },
          samples: gateway.samples(),
          atMs: atMs + Math.floor(random() * 1000),
        }
    }
  }
}

class Gateway {
  private readonly counts = new Map<string, { sample: Omit<Sample, 'value'>; value: number }>()
  private readonly load: number
  private startedAtMs = BEGIN - 1000

  constructor(
    readonly instance: string,
    private readonly random: () => number,
  ) {
    this.load = 1 + random() * 6
  }

  work(atMs: number): void {
    if (this.random() < 0.002) {
      this.counts.clear()
      this.startedAtMs = atMs - 2000
    }
    for (const model of ['a', 'b.c', 'd']) {
      const done = Math.floor(this.random() * this.load * (1.5 + Math.sin(atMs / (20 * MINUTE))))
      this.add('helixflow_requests_total', { route: '/v1/x', model, status: '200' }, done)
      this.add('helixflow_requests_total', { route: '/v1/x', model, status: '503' }, done > this.load ? 1 : 0)
      this.set('helixflow_queue_depth', { model }, Math.floor(this.random() * 9))
      for (let one = 0; one < done; one++) this.observe(model, Math.exp(this.random() * 5 - 3))
    }
    this.set('process_start_time_seconds', {}, this.startedAtMs / 1000)
  }

  samples(): Sample[] {
    return [...this.counts.values()].map(({ sample, value }) => ({ ...sample, value }))
  }

  private observe(model: string, seconds: number): void {
    const name = 'helixflow_time_to_first_token_seconds'
    const ends = [...METRICS[name].buckets, Number.POSITIVE_INFINITY]
    for (const end of ends)
      this.add(`${name}_bucket`, { model, le: bucketLabel(end) }, seconds <= end ? 1 : 0)
    this.add(`${name}_sum`, { model }, seconds)
    this.add(`${name}_count`, { model }, 1)
  }

  private add(name: string, labels: Record<string, string>, by: number): void {
    this.set(name, labels, (this.counts.get(name + textOf(labels))?.value ?? 0) + by)
  }

  private set(name: string, labels: Record<string, string>, value: number): void {
    this.counts.set(name + textOf(labels), { sample: { name, labels }, value })
  }
}

/** OpenMetrics wants all lines of a family together. */
function write(lines: Map<string, string[]>, { target, samples, atMs }: Reading): void {
  for (const { name, labels, value } of samples) {
    const family = name.replace(/_(total|bucket|sum|count)$/, '')
    const type = name.endsWith('_total') ? 'counter' : name === family ? 'gauge' : 'histogram'
    const text = Object.entries({ ...labels, ...target }).map(([label, one]) => `${label}="${one}"`)
    const all = lines.get(family) ?? [`# TYPE ${family} ${type}`]
    all.push(`${name}{${text.join(',')}} ${value} ${atMs / 1000}`)
    lines.set(family, all)
  }
}

function textOf(labels: object): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)))
}

import { type Alert, type AlertsState, NO_ALERTS } from '../../src/monitor/alerts/alert-state.ts'
import { answersOf, judge } from '../../src/monitor/alerts/evaluator.ts'
import { type AlertRule, ruleId, runbookOf } from '../../src/monitor/alerts/rule.ts'
import { rendered } from '../../src/monitor/alerts/text.ts'
import { SampleNeeds } from '../../src/monitor/query/sample-needs.ts'
import { SampleStore } from '../../src/monitor/query/samples.ts'
import { queriesOf } from '../../src/monitor/query/selection.ts'
import type { AlertExample, ExampleSeries } from './alert-examples.ts'

/** How often rules are judged, here and by promtool. */
export const ROUND_MS = 30_000
const MINUTE = 60_000
const TARGET = { instance: 'here:9464', role: 'gateway' }

export interface Playback {
  readonly badFromMs: number
  readonly badToMs: number
  readonly endMs: number
  /** After each round, from time 0. */
  readonly rounds: readonly { readonly atMs: number; readonly alerts: readonly Alert[] }[]
}

/** Gives the example to the built-in evaluator, reading by reading. */
export function play(rules: readonly AlertRule[], example: AlertExample): Playback {
  const needs = new SampleNeeds(rules.flatMap(({ condition }) => queriesOf(condition)))
  const store = new SampleStore(needs)
  const { stepMs, badFromMs, badToMs, endMs } = spansOf(example)
  const values = example.series.map((one) => valuesOf(one, example))
  const rounds: Playback['rounds'][number][] = []
  let state: AlertsState = NO_ALERTS
  for (let atMs = 0; atMs <= endMs; atMs += ROUND_MS) {
    if (atMs % stepMs === 0) {
      const samples = example.series.flatMap(({ name, labels }, index) => {
        const value = values[index]?.[atMs / stepMs]
        return value === undefined ? [] : [{ name, labels, value }]
      })
      store.take(TARGET, samples, atMs)
    }
    const answers = answersOf(rules, store, atMs)
    const round = { nowMs: atMs, readingSinceMs: Number.NEGATIVE_INFINITY, silences: [] }
    state = judge(rules, answers, state, round).state
    rounds.push({ atMs, alerts: state.alerts })
  }
  return { badFromMs, badToMs, endMs, rounds }
}

/** The example as `promtool test rules` has it, with what the built-in evaluator said at some moments. */
export function promtoolTest(
  rules: readonly AlertRule[],
  example: AlertExample,
  { rounds }: Playback,
  checks: readonly { readonly name: string; readonly atMs: number }[],
): unknown {
  const byId = new Map(rules.map((rule) => [ruleId(rule), rule]))
  return {
    interval: `${spansOf(example).stepMs / 1000}s`,
    input_series: example.series.map((one) => ({
      series: `${one.name}{${Object.entries({ ...TARGET, ...one.labels })
        .map(([label, value]) => `${label}=${JSON.stringify(value)}`)
        .join(',')}}`,
      values: valuesOf(one, example)
        .map((value, index, all) => value ?? (all[index - 1] === undefined ? '_' : 'stale'))
        .join(' '),
    })),
    alert_rule_test: checks.map(({ name, atMs }) => ({
      eval_time: `${atMs / 1000}s`,
      alertname: name,
      exp_alerts: (rounds[atMs / ROUND_MS]?.alerts ?? [])
        .filter((alert) => alert.name === name && alert.state === 'firing')
        .map((alert) => expectedOf(byId.get(ruleId(alert)), alert)),
    })),
  }
}

function expectedOf(rule: AlertRule | undefined, { severity, labels, value }: Alert) {
  if (!rule) throw new Error(`an alert without a rule: ${severity} ${JSON.stringify(labels)}`)
  return {
    exp_labels: { severity, ...labels },
    exp_annotations: {
      summary: rendered(rule.summary, labels, value),
      meaning: rule.meaning,
      action: rule.action,
      runbook: `docs/${runbookOf(rule)}`,
    },
  }
}

function spansOf({ stepMs = ROUND_MS, goodMs = 15 * MINUTE, ...example }: AlertExample) {
  const badToMs = goodMs + (example.badMs ?? 25 * MINUTE)
  return { stepMs, badFromMs: goodMs, badToMs, endMs: badToMs + (example.afterMs ?? 30 * MINUTE) }
}

/** One for each step; undefined where it is not exported. */
function valuesOf({ counter, good, bad }: ExampleSeries, example: AlertExample): (number | undefined)[] {
  const { stepMs, badFromMs, badToMs, endMs } = spansOf(example)
  const values: (number | undefined)[] = []
  let count = 0
  for (let atMs = 0; atMs <= endMs; atMs += stepMs) {
    const now = atMs >= badFromMs && atMs < badToMs ? bad : good
    if (counter) count += ((now ?? 0) * stepMs) / MINUTE
    values.push(counter ? Math.round(count * 1000) / 1000 : now)
  }
  return values
}

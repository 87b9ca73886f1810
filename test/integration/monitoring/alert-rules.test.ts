import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { prometheusRules } from '../../../src/monitor/alerts/prometheus-rules.ts'
import { type AlertRule, ruleId } from '../../../src/monitor/alerts/rule.ts'
import { RULE_GROUPS, RULES } from '../../../src/monitor/alerts/rules.ts'
import { EXACT_WINDOW_MS } from '../../../src/monitor/query/sample-ring.ts'
import { queriesOf } from '../../../src/monitor/query/selection.ts'
import { ALERT_EXAMPLES, QUIET_EXAMPLES } from '../../support/alert-examples.ts'
import { type Playback, play, promtoolTest, ROUND_MS } from '../../support/alert-playback.ts'
import { promtool } from '../../support/prometheus.ts'

const folder = mkdtempSync(join(tmpdir(), 'helixflow-alerts-'))
writeFileSync(join(folder, 'alerts.yaml'), JSON.stringify(prometheusRules(RULE_GROUPS)))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const played = new Map<string, Playback>()

describe.each(RULES.map((rule) => [ruleId(rule), rule] as const))('%s', (id, rule) => {
  const example = ALERT_EXAMPLES[id]

  test('fires when its trouble has lasted, holds, and is resolved after it', () => {
    if (!example) throw new Error(`no example of ${id}`)
    // Of its name alone: what explains what is not at issue.
    const one = play(
      RULES.filter(({ name }) => name === rule.name),
      example,
    )
    played.set(id, one)
    const states = one.rounds.map(({ atMs, alerts }) => ({
      atMs,
      state: alerts.find((alert) => ruleId(alert) === id)?.state,
    }))
    const fired = states.find(({ state }) => state === 'firing')?.atMs ?? Number.NaN
    const resolved = states.find(({ state }) => state === 'resolved')?.atMs ?? Number.NaN
    expect(fired).toBeGreaterThanOrEqual(one.badFromMs + rule.forMs)
    expect(fired).toBeLessThan(one.badToMs)
    expect(resolved).toBeGreaterThan(one.badToMs)
    for (const { atMs, state } of states) {
      if (atMs < one.badFromMs) expect(state).toBeUndefined()
      if (atMs >= fired && atMs < resolved) expect(state).toBe('firing')
      if (atMs < fired && atMs >= fired - rule.forMs) expect(state).toBe('pending')
    }
  })
})

test('there is no example without a rule', () => {
  expect(Object.keys(ALERT_EXAMPLES).sort()).toEqual(RULES.map(ruleId).sort())
})

test.each(Object.entries(QUIET_EXAMPLES))('nobody is told of %s', (_what, example) => {
  const { rounds } = play(RULES, example)
  const fired = rounds.flatMap(({ alerts }) => alerts.filter(({ state }) => state === 'firing').map(ruleId))
  // There is no monitor in these examples.
  expect([...new Set(fired)]).toEqual(['MonitorAbsent critical'])
})

describe('Prometheus', () => {
  test('takes the rules', async () => {
    const checked = await promtool('check', 'rules', '--lint-fatal', join(folder, 'alerts.yaml'))
    expect(checked.text).toContain(`SUCCESS: ${RULES.length} rules found`)
    expect(checked.succeeded).toBe(true)
  })

  test('fires, holds and resolves every alert as the built-in evaluator, with the same words', async () => {
    // A file for each name, with its own rules: all rules over all examples would take minutes.
    const files = [...new Set(RULES.map(({ name }) => name))].map((name) => {
      const rules = RULES.filter((rule) => rule.name === name)
      const tests = rules.map((rule) => {
        const [example, one] = [ALERT_EXAMPLES[ruleId(rule)], played.get(ruleId(rule))]
        if (!example || !one) throw new Error(`${ruleId(rule)} was not played`)
        return promtoolTest(rules, example, one, momentsOf(ruleId(rule), one))
      })
      writeFileSync(join(folder, `${name}.rules.yaml`), JSON.stringify(prometheusRules({ [name]: rules })))
      const text = { rule_files: [`${name}.rules.yaml`], evaluation_interval: `${ROUND_MS / 1000}s`, tests }
      writeFileSync(join(folder, `${name}.tests.yaml`), JSON.stringify(text))
      return join(folder, `${name}.tests.yaml`)
    })
    const ran = await promtool('test', 'rules', ...files)
    expect(ran.succeeded, ran.text).toBe(true)
  })
})

/** Before the trouble, just before it fires, when it does, while it does, and when it is over. */
function momentsOf(id: string, { rounds, badFromMs, endMs }: Playback) {
  const states = rounds.map(({ alerts }) => alerts.find((alert) => ruleId(alert) === id)?.state)
  const fired = states.indexOf('firing')
  const resolved = states.indexOf('resolved')
  const middle = Math.floor((fired + resolved) / 2)
  const name = id.split(' ')[0] ?? id
  // Of six hours the fourth digit of a figure may differ (sample-ring.ts).
  const long = RULES.some((rule) => rule.name === name && windowOf(rule) > EXACT_WINDOW_MS)
  const moments = [badFromMs / ROUND_MS - 1, fired - 1, fired, ...(long ? [] : [middle]), endMs / ROUND_MS]
  return moments.map((round) => ({ name, atMs: round * ROUND_MS }))
}

function windowOf({ condition }: AlertRule): number {
  return Math.max(...queriesOf(condition).map((query) => ('windowMs' in query ? query.windowMs : 0)))
}

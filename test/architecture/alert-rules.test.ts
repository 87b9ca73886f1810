import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { alertRulesFile } from '../../src/cli/alert-rules-file.ts'
import { labelsOfRule, ruleId } from '../../src/monitor/alerts/rule.ts'
import { RULES } from '../../src/monitor/alerts/rules.ts'
import { labelsIn } from '../../src/monitor/alerts/text.ts'
import type { Condition } from '../../src/monitor/query/query.ts'
import { labelsOf, labelsOfCondition, queriesOf } from '../../src/monitor/query/selection.ts'

const root = join(import.meta.dirname, '..', '..')
const names = new Set(RULES.map(({ name }) => name))

test('the rules for Prometheus are those of the table (npm run gen)', () => {
  expect(readFileSync(join(root, 'deploy', 'prometheus', 'alerts.yaml'), 'utf8')).toBe(alertRulesFile())
})

test('no two rules have one name and severity', () => {
  expect(new Set(RULES.map(ruleId)).size).toBe(RULES.length)
})

describe.each(RULES.map((rule) => [ruleId(rule), rule] as const))('%s', (_id, rule) => {
  test('speaks only of labels that it has', () => {
    expect(labelsOfRule(rule)).toEqual(expect.arrayContaining([...labelsIn(rule.summary)]))
    expect([...labelsIn(rule.meaning), ...labelsIn(rule.action)]).toEqual([])
  })

  test('explains alerts that there are, by labels that both have', () => {
    for (const { alerts, equal = [] } of rule.explains ?? []) {
      for (const alert of alerts) {
        const target = RULES.find(({ name }) => name === alert)
        expect(names).toContain(alert)
        expect(target && labelsOfRule(target)).toEqual(expect.arrayContaining([...equal]))
        expect(labelsOfRule(rule)).toEqual(expect.arrayContaining([...equal]))
      }
    }
  })

  test('compares what has the same labels, or a later one with fewer', () => {
    for (const [first, second] of pairs(rule.condition))
      expect(first).toEqual(expect.arrayContaining([...second]))
  })
})

/** Labels of what stands before and after each sign of a condition. */
function pairs(condition: Condition): (readonly [readonly string[], readonly string[]])[] {
  const inside = queriesOf(condition).flatMap((query) => {
    if (query.kind === 'ratio') return [[labelsOf(query.of), labelsOf(query.to)] as const]
    if (query.kind === 'difference') return [[labelsOf(query.of), labelsOf(query.less)] as const]
    return query.kind === 'sum' ? [[labelsOf(query.of), labelsOf(query.and)] as const] : []
  })
  if (condition.kind === 'absent') return []
  if (condition.kind === 'all') {
    const first = labelsOfCondition(condition)
    return [
      ...condition.of.flatMap(pairs),
      ...condition.of.map((one) => [first, labelsOfCondition(one)] as const),
    ]
  }
  const { query, bound } = condition
  return typeof bound === 'number' ? inside : [...inside, [labelsOf(query), labelsOf(bound)]]
}

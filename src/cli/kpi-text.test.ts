import { describe, expect, test } from 'vitest'
import { kpiText, type ShownKpiRow } from './kpi-text.ts'

const ROW: ShownKpiRow = {
  group: 'tiny',
  requests: 5,
  errors: 1,
  promptTokens: 85,
  completionTokens: 40,
  cacheHitRatio: 0.25,
  cost: '2.469012345',
  durationP50Ms: 12.4,
  durationP95Ms: 34_570,
  activeUsers: 2,
}

const total = { ...ROW, group: 'total' }

describe('business figures on the terminal', () => {
  test('have units, the sums last, and a dash for what is not known', () => {
    const [head, row, last] = kpiText({ total, rows: [ROW] }, 'model')
      .split('\n')
      .map((line) => line.split(/ {2,}/))
    expect(head?.[0]).toBe('MODEL')
    expect(row).toEqual(['tiny', '5', '1', '85', '40', '25.0 %', '2.469', '12 ms', '34.6 s', '-', '-', '2'])
    expect(last?.[0]).toBe('total')
  })

  test('say what devices cost only where they have prices', () => {
    expect(kpiText({ total, rows: [ROW] }, 'model')).not.toContain('DEVICES')
    const priced = { ...total, deviceCost: '4', deviceCostPerMillionTokens: '100000' }
    expect(kpiText({ total: priced, rows: [priced] }, 'model')).toMatch(/DEVICES.*\n.* 4 +100000 /)
  })

  test('end with what the month comes to', () => {
    const range = { soFar: 5, likely: 20, low: 11, high: 29 }
    const cost = { soFar: '1', likely: '4.00004', low: '2.5', high: '6' }
    const forecast = { month: '2026-11', requests: range, tokens: range, cost }
    expect(kpiText({ total, rows: [ROW], forecast }, 'model')).toMatch(
      /2026-11 .*LIKELY.*\nrequests +20 +11 to 29 +5\n.*\ncost +4 +2.5 to 6 +1$/,
    )
  })

  test('are one sentence where there was nothing', () => {
    expect(kpiText({ total: { ...total, requests: 0 }, rows: [] }, 'model')).toBe(
      'Nothing was asked for in that time.',
    )
  })
})

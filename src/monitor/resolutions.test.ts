import { describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { chooseResolution, POINTS_MAX, spansToRollUp, thinned } from './resolutions.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const RETENTION = { '10s': 12 * HOUR, '1m': 14 * DAY, '1h': 400 * DAY }
const NOW = Date.UTC(2026, 10, 28, 12)

describe('the resolution of an answer', () => {
  test.each([
    ['an hour', HOUR, HOUR, '10s'],
    ['a day', DAY, DAY, '1m'],
    ['a week', 7 * DAY, 7 * DAY, '1h'],
    ['six hours', 6 * HOUR, 6 * HOUR, '10s'],
    ['twelve hours', 12 * HOUR, 12 * HOUR, '1m'],
    ['an hour of yesterday', DAY, HOUR, '1m'],
    ['an hour of last month', 30 * DAY, HOUR, '1h'],
    ['a year', 365 * DAY, 365 * DAY, '1h'],
  ])('%s has the finest that is kept and fits', (_name, agoMs, lengthMs, resolution) => {
    const span = { fromMs: NOW - agoMs, toMs: NOW - agoMs + lengthMs }
    expect(chooseResolution(span, RETENTION, NOW)).toBe(resolution)
  })
})

describe('what is rolled up', () => {
  const state = {
    stepMs: 60_000,
    newestMs: undefined,
    oldestFineMs: undefined,
    writtenMs: undefined,
    nowMs: NOW,
  }

  test('is nothing without points, and never the minute that still runs', () => {
    expect(spansToRollUp(state)).toEqual([])
    expect(spansToRollUp({ ...state, oldestFineMs: NOW, nowMs: NOW + 59_999 })).toEqual([])
    expect(spansToRollUp({ ...state, oldestFineMs: NOW, nowMs: NOW + 60_000 })).toEqual([
      { fromMs: NOW, toMs: NOW + 60_000 },
    ])
  })

  test('begins where the last one ended', () => {
    const spans = spansToRollUp({ ...state, newestMs: NOW - 180_000, oldestFineMs: NOW - DAY })
    expect(spans).toEqual([{ fromMs: NOW - 120_000, toMs: NOW }])
  })

  test('begins earlier where older points were written afterwards', () => {
    const spans = spansToRollUp({ ...state, newestMs: NOW - 120_000, writtenMs: NOW - 290_000 })
    expect(spans).toEqual([{ fromMs: NOW - 300_000, toMs: NOW }])
  })

  test('comes in pieces without gap or overlap, however long nobody did it', () => {
    const spans = spansToRollUp({ ...state, newestMs: NOW - 12 * HOUR })
    expect(spans.length).toBeGreaterThan(1)
    expect(spans[0]?.fromMs).toBe(NOW - 12 * HOUR + 60_000)
    expect(spans.at(-1)?.toMs).toBe(NOW)
    for (const [place, span] of spans.entries())
      if (place > 0) expect(span.fromMs).toBe(spans[place - 1]?.toMs)
  })
})

test('thinned points are few, and keep the extremes and the mean', () => {
  const random = seededRandom(7)
  const points = Array.from({ length: 9_600 }, (_, place) => {
    const value = random.uniform()
    return { atMs: place * HOUR, value, low: value - 1, high: value + 1 }
  })
  const thin = thinned(points)
  expect(thin.length).toBeLessThanOrEqual(POINTS_MAX)
  expect(Math.min(...thin.map(({ low }) => low))).toBe(Math.min(...points.map(({ low }) => low)))
  expect(Math.max(...thin.map(({ high }) => high))).toBe(Math.max(...points.map(({ high }) => high)))
  const mean = (all: readonly { value: number }[]) =>
    all.reduce((sum, { value }) => sum + value, 0) / all.length
  expect(mean(thin)).toBeCloseTo(mean(points), 10)
  expect(thinned(points.slice(0, POINTS_MAX))).toHaveLength(POINTS_MAX)
})

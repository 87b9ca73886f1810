import { describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { forecastMonth, type HourFigures } from './forecast-month.ts'

const HOUR_MS = 3_600_000
const NOW_MS = Date.UTC(2026, 10, 12, 9)
const MONTH_MS = Date.UTC(2026, 10, 1)
const END_MS = Date.UTC(2026, 11, 1)

function hoursFrom(fromMs: number, toMs: number, value: (atMs: number) => number): HourFigures[] {
  const hours: HourFigures[] = []
  for (let atMs = fromMs; atMs < toMs; atMs += HOUR_MS) {
    const requests = value(atMs)
    hours.push({ atMs, requests, tokens: requests * 100, cost: requests * 1_000 })
  }
  return hours
}

const weeksAgo = (weeks: number) => NOW_MS - weeks * 168 * HOUR_MS

describe('the forecast of a month', () => {
  test('of what is always the same is that, and narrow', () => {
    const { month, requests, tokens } = forecastMonth(
      hoursFrom(weeksAgo(5), NOW_MS, () => 50),
      NOW_MS,
    )
    expect(month).toBe('2026-11')
    expect(requests).toEqual({ soFar: 273 * 50, likely: 720 * 50, low: 720 * 50, high: 720 * 50 })
    expect(tokens.likely).toBe(requests.likely * 100)
  })

  test('knows the hours of the week: weekends without requests stay so', () => {
    const isWorkday = (atMs: number) => new Date(atMs).getUTCDay() % 6 !== 0
    const all = hoursFrom(weeksAgo(5), END_MS, (atMs) => (isWorkday(atMs) ? 100 : 0))
    const sum = all
      .filter(({ atMs }) => atMs >= MONTH_MS)
      .reduce((whole, { requests }) => whole + requests, 0)
    const known = all.filter(({ atMs }) => atMs < NOW_MS)
    expect(forecastMonth(known, NOW_MS).requests.likely).toBe(sum)
  })

  test('lies around what comes in four of five months, for four weeks and for five days of history', () => {
    for (const [weeks, least, most] of [
      [4, 0.72, 0.88],
      [5 / 7, 0.7, 0.95],
    ] as const) {
      let within = 0
      const months = 400
      for (let seed = 1; seed <= months; seed++) {
        const random = seededRandom(seed)
        const all = hoursFrom(Math.min(weeksAgo(weeks), MONTH_MS), END_MS, (atMs) => {
          const season = weeks < 1 ? 100 : 100 + 80 * Math.sin((atMs / HOUR_MS / 24) * 2 * Math.PI)
          return Math.max(0, season * (0.5 + random.uniform()))
        })
        const known = all.filter(({ atMs }) => atMs < NOW_MS && atMs >= weeksAgo(weeks))
        const soFar = all.filter(({ atMs }) => atMs >= MONTH_MS && atMs < weeksAgo(weeks))
        const { low, high } = forecastMonth(known, NOW_MS).requests
        const left = (hours: readonly HourFigures[]) => hours.reduce((sum, { requests }) => sum + requests, 0)
        const actual = left(all.filter(({ atMs }) => atMs >= MONTH_MS)) - left(soFar)
        if (actual >= low - 1 && actual <= high + 1) within++
      }
      expect(within / months).toBeGreaterThan(least)
      expect(within / months).toBeLessThan(most)
    }
  })

  test('is never below what there has been, and knows nothing where there was nothing', () => {
    const random = seededRandom(3)
    const wild = hoursFrom(weeksAgo(4), NOW_MS, () => (random.uniform() < 0.01 ? 10_000 : 0))
    const { soFar, likely, low, high } = forecastMonth(wild, NOW_MS).requests
    expect(low).toBeGreaterThanOrEqual(soFar)
    expect(likely).toBeGreaterThan(low)
    expect(high).toBeGreaterThan(likely)
    expect(forecastMonth([], NOW_MS).cost).toEqual({ soFar: 0, likely: 0, low: 0, high: 0 })
  })
})

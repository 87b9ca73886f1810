import { describe, expect, test } from 'vitest'
import { arrivalPatterns } from '../../../test/support/arrival-patterns.ts'
import { seededRandom } from '../../core/random.ts'
import { type ArrivalHistory, NO_ARRIVALS } from '../state.ts'
import { arrivalChance, observeArrivals, requestsPerHour } from './forecast.ts'
import { PAUSE_BINS } from './pauses.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS
/** A Monday, so that hours of the week are not those of the test's own clock. */
const CALENDAR_MS = Date.UTC(2025, 0, 6)

function at(nowMs: number) {
  return { nowMs, calendarMs: CALENDAR_MS + nowMs }
}

/** Brings a history up to date step by step and shows it after each. */
function watch(
  times: readonly number[],
  { stepMs, endMs }: { readonly stepMs: number; readonly endMs: number },
  see: (history: ArrivalHistory, nowMs: number) => void = () => {},
): ArrivalHistory {
  let history = NO_ARRIVALS
  let next = 0
  for (let nowMs = stepMs; nowMs <= endMs; nowMs += stepMs) {
    const first = next
    while ((times[next] ?? Number.POSITIVE_INFINITY) <= nowMs) next += 1
    history = observeArrivals(history, next - first, at(nowMs))
    see(history, nowMs)
  }
  return history
}

describe('chances', () => {
  test.each(Object.entries(arrivalPatterns))(
    'of %s requests are how often they come: within 0.1 in each tenth that is said often',
    (_name, pattern) => {
      const endMs = 28 * DAY_MS
      const table = Array.from({ length: 10 }, () => ({ count: 0, said: 0, came: 0 }))
      for (let seed = 1; seed <= 3; seed++) {
        const times = pattern(seededRandom(seed), endMs + DAY_MS)
        let next = 0
        watch(times, { stepMs: MINUTE_MS, endMs }, (history, nowMs) => {
          if (nowMs < 7 * DAY_MS || (nowMs / MINUTE_MS) % 7 !== 0) return
          while ((times[next] ?? Number.POSITIVE_INFINITY) <= nowMs) next += 1
          const horizonMs = 20 * MINUTE_MS
          const chance = arrivalChance(history, horizonMs, at(nowMs))
          const row = table[Math.min(9, Math.floor(chance * 10))]
          if (!row) return
          row.count += 1
          row.said += chance
          row.came += (times[next] ?? Number.POSITIVE_INFINITY) <= nowMs + horizonMs ? 1 : 0
        })
      }
      const often = table.filter(({ count }) => count >= 500)
      expect(often.length).toBeGreaterThan(0)
      for (const { count, said, came } of often) {
        expect.soft(Math.abs(said - came) / count, `${count} times ${said / count}`).toBeLessThan(0.1)
      }
    },
  )

  test('foresee a timer: low right after it, high when it is due', () => {
    const history = watch(arrivalPatterns.periodic(seededRandom(1), 14 * DAY_MS), {
      stepMs: MINUTE_MS,
      endMs: 14 * DAY_MS - HOUR_MS,
    })
    expect(arrivalChance(history, 10 * MINUTE_MS, at(14 * DAY_MS - HOUR_MS))).toBeLessThan(0.1)
    expect(arrivalChance(history, 15 * MINUTE_MS, at(14 * DAY_MS - 5 * MINUTE_MS))).toBeGreaterThan(0.7)
  })

  test('foresee the morning', () => {
    const night = 21 * DAY_MS + 3 * HOUR_MS
    const times = arrivalPatterns.diurnal(seededRandom(1), night)
    const history = watch(times, { stepMs: MINUTE_MS, endMs: night })
    const morning = watch(times, { stepMs: MINUTE_MS, endMs: night + 5 * HOUR_MS })
    const [asleep, awake] = [history, morning].map((one, index) =>
      arrivalChance(one, 20 * MINUTE_MS, at(night + index * 5 * HOUR_MS)),
    )
    expect(asleep).toBeLessThan(0.1)
    expect(awake).toBeGreaterThan(0.25)
  })

  test('lie between 0 and 1 and never fall with the horizon, whatever came in whatever steps', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = seededRandom(seed)
      let history = NO_ARRIVALS
      let nowMs = random.uniform() * DAY_MS
      for (let step = 0; step < 60; step++) {
        nowMs += random.uniform() < 0.1 ? 0 : 10 ** (random.uniform() * 7)
        const arrivals = random.uniform() < 0.5 ? 0 : Math.floor(10 ** (random.uniform() * 4))
        // The calendar may be set, also backwards.
        const calendarMs = CALENDAR_MS + nowMs + (random.uniform() < 0.05 ? -9 * DAY_MS : 0)
        history = observeArrivals(history, arrivals, { nowMs, calendarMs })
        const askedMs = nowMs + random.uniform() * 2 * DAY_MS
        const horizons = [
          0,
          1,
          1_000,
          MINUTE_MS,
          17 * MINUTE_MS,
          HOUR_MS,
          5 * HOUR_MS,
          3 * DAY_MS,
          30 * DAY_MS,
        ]
        const chances = horizons.map((horizonMs) => arrivalChance(history, horizonMs, at(askedMs)))
        expect(chances.every((chance) => chance >= 0 && chance <= 1)).toBe(true)
        for (const [index, chance] of chances.entries()) {
          expect(chance).toBeGreaterThanOrEqual((chances[index - 1] ?? 0) - 1e-12)
        }
        expect(Number.isFinite(requestsPerHour(history, at(askedMs)))).toBe(true)
      }
    }
  })
})

describe('a history', () => {
  test('never grows, however much it has seen', () => {
    const random = seededRandom(1)
    const history = watch(arrivalPatterns.bursty(random, 60 * DAY_MS), {
      stepMs: 5 * MINUTE_MS,
      endMs: 60 * DAY_MS,
    })
    const { hourOfWeek, hoursSeen, pauses, rates, requestRates, weights, guesses } = history
    expect([hourOfWeek.length, hoursSeen.length, pauses.length]).toEqual([168, 168, PAUSE_BINS])
    expect([rates.length, requestRates.length, weights.length, guesses.length]).toEqual([3, 3, 5, 5])
    expect(JSON.stringify(history).length).toBeLessThan(20_000)
  })

  test('is the same after the same events', () => {
    const times = arrivalPatterns.diurnal(seededRandom(3), 5 * DAY_MS)
    const once = () => watch(times, { stepMs: 7_000, endMs: 5 * DAY_MS })
    expect(once()).toEqual(once())
  })

  test('is the very same object while nothing comes, so that most models cost nothing each second', () => {
    const history = observeArrivals(NO_ARRIVALS, 1, at(0))
    expect(observeArrivals(history, 0, at(1_000))).toBe(history)
    expect(observeArrivals(history, 0, at(MINUTE_MS))).not.toBe(history)
  })

  test('says about the same whether it is told each second or each five minutes', () => {
    const times = arrivalPatterns.poisson(seededRandom(5), 4 * DAY_MS)
    const endMs = 4 * DAY_MS
    const [fine, coarse] = [1_000, 300_000].map((stepMs) =>
      requestsPerHour(watch(times, { stepMs, endMs }), at(endMs)),
    )
    expect((coarse ?? 0) / (fine ?? 1)).toBeGreaterThan(0.7)
    expect((coarse ?? 0) / (fine ?? 1)).toBeLessThan(1.4)
  })
})

describe('requests per hour', () => {
  test('are the rate of requests that come independently of each other', () => {
    const history = watch(arrivalPatterns.poisson(seededRandom(2), 14 * DAY_MS), {
      stepMs: MINUTE_MS,
      endMs: 14 * DAY_MS,
    })
    const perHour = requestsPerHour(history, at(14 * DAY_MS))
    expect(perHour).toBeGreaterThan(2.5)
    expect(perHour).toBeLessThan(6)
  })

  test('count what comes in bursts by its bursts', () => {
    // 150 a day in five bursts, long after the last one: a model with four an hour is worth more.
    const quiet = arrivalPatterns.bursty(seededRandom(2), 14 * DAY_MS).filter((time) => time < 13.8 * DAY_MS)
    const history = watch(quiet, { stepMs: MINUTE_MS, endMs: 14 * DAY_MS })
    expect(requestsPerHour(history, at(14 * DAY_MS))).toBeLessThan(1)
  })

  test('are none of a model that nobody has told of', () => {
    expect(requestsPerHour(NO_ARRIVALS, at(0))).toBe(0)
    expect(arrivalChance(NO_ARRIVALS, HOUR_MS, at(0))).toBe(0)
  })
})

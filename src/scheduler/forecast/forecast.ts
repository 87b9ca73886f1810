import type { ArrivalHistory } from '../state.ts'
import { activeMinutes, HOUR_MS, hazardOf, MINUTE_MS } from './active-minutes.ts'
import { blended, trustAfter } from './blend.ts'
import { agedRequestRates } from './growth.ts'
import { agedPauses, pauseEnds, withPauses } from './pauses.ts'
import { agedRates, RECENT_MS, recentHazard } from './recency.ts'
import { countedHours, hourOf, seasonAhead } from './season.ts'

/** The two clocks that a forecast needs: one that never goes back, and the calendar for the hour of the week. */
export interface ForecastTime {
  readonly nowMs: number
  readonly calendarMs: number
}

/** What the ways to forecast are judged by: whether something came within this time. */
const LESSON_MS = 10 * MINUTE_MS
/** Pauses of a week ago count half. */
const PAUSES_KEPT_PER_HOUR = 0.5 ** (1 / 168)
/** The recent rates, the season, the pauses. */
const EXPERTS = RECENT_MS.length + 2

/**
 * The history after so many requests, spread over the time since it was last brought up to date. Cheap for a model that
 * nobody asks for: the same history comes back unless a minute has passed.
 */
export function observeArrivals(
  history: ArrivalHistory,
  arrivals: number,
  time: ForecastTime,
): ArrivalHistory {
  const { nowMs, calendarMs } = time
  if (history.startedMs === undefined) {
    const started = { ...history, startedMs: nowMs, updatedMs: nowMs, weights: EQUAL_WEIGHTS }
    return learned(counted(started, arrivals, time), arrivals, time)
  }
  const elapsedMs = nowMs - history.updatedMs
  if (arrivals === 0 && elapsedMs < MINUTE_MS && hourOf(calendarMs) === history.hour) return history
  return learned(counted(history, arrivals, time), arrivals, time)
}

/** The chance, 0 to 1, that at least one request comes within `horizonMs` from now. */
export function arrivalChance(history: ArrivalHistory, horizonMs: number, time: ForecastTime): number {
  if (history.startedMs === undefined || horizonMs <= 0) return 0
  return chanceWithin(history, outlookOf(history, time), horizonMs)
}

const EQUAL_WEIGHTS: readonly number[] = new Array<number>(EXPERTS).fill(1 / EXPERTS)

/** The time until the next request is summed up over these, from half a minute on, each twice the one before. */
const WAIT_STEPS = 9

/**
 * How often an hour a loaded instance would be found useful from now on: one over the expected time until the next
 * request, of which no more than the next two hours are looked at. That is what an instance is kept for; of the
 * requests that come together, only the first would have waited for a load.
 */
export function requestsPerHour(history: ArrivalHistory, time: ForecastTime): number {
  if (history.startedMs === undefined) return 0
  const outlook = outlookOf(history, time)
  let waitMs = 0
  let fromMs = 0
  let absent = 1
  for (let step = 0; step < WAIT_STEPS; step++) {
    const untilMs = (MINUTE_MS / 2) * 2 ** step
    const absentThen = 1 - chanceWithin(history, outlook, untilMs)
    waitMs += ((absent + absentThen) / 2) * (untilMs - fromMs)
    fromMs = untilMs
    absent = absentThen
  }
  return HOUR_MS / waitMs
}

function counted(history: ArrivalHistory, arrivals: number, time: ForecastTime): ArrivalHistory {
  const { nowMs, calendarMs } = time
  const elapsedMs = Math.max(0, nowMs - history.updatedMs)
  const minute = Math.floor(nowMs / MINUTE_MS)
  const isCounted = elapsedMs <= MINUTE_MS && minute === history.activeMinute
  const active = arrivals === 0 || isCounted ? 0 : activeMinutes(arrivals, elapsedMs)
  const season = countedHours(history, active, { calendarMs, elapsedMs })
  const aged =
    season.hour === history.hour || history.pauses.length === 0
      ? history.pauses
      : agedPauses(history.pauses, PAUSES_KEPT_PER_HOUR ** Math.max(0, season.hour - history.hour))
  // Written out, for this runs for every model all the time and spreading takes thrice as long.
  return {
    startedMs: history.startedMs,
    hourOfWeek: season.hourOfWeek,
    hoursSeen: season.hoursSeen,
    hour: season.hour,
    hourActive: season.hourActive,
    perHour: season.perHour,
    activeMinute: arrivals > 0 ? minute : history.activeMinute,
    rates: agedRates(history.rates, active, elapsedMs),
    requestRates: agedRequestRates(history.requestRates, arrivals, elapsedMs),
    pauses: arrivals > 0 ? pausesAfter(history, aged, arrivals, nowMs) : aged,
    lastArrivalMs: arrivals > 0 ? nowMs : history.lastArrivalMs,
    updatedMs: nowMs,
    weights: history.weights,
    guesses: history.guesses,
    guessedMs: history.guessedMs,
  }
}

function pausesAfter(
  { lastArrivalMs, updatedMs }: ArrivalHistory,
  pauses: readonly number[],
  arrivals: number,
  nowMs: number,
): readonly number[] {
  const betweenMs = Math.max(0, nowMs - updatedMs) / arrivals
  const between = arrivals > 1 ? withPauses(pauses, betweenMs, arrivals - 1) : pauses
  if (lastArrivalMs === undefined) return between
  return withPauses(between, nowMs - betweenMs * (arrivals - 1) - lastArrivalMs, 1)
}

/** Holds what was forecast against what came, once that is known, and has the next forecast made. */
function learned(history: ArrivalHistory, arrivals: number, time: ForecastTime): ArrivalHistory {
  const { nowMs } = time
  const isFirst = history.guesses.length === 0
  if (!isFirst && nowMs < history.guessedMs + LESSON_MS) return history
  const came = arrivals > 0 || (history.lastArrivalMs ?? Number.NEGATIVE_INFINITY) > history.guessedMs
  // After a pause in which nobody brought it up to date, what came within the time of the guess is not known.
  const isKnown = !isFirst && nowMs < history.guessedMs + 2 * LESSON_MS
  const weights = isKnown ? trustAfter(history.weights, history.guesses, came) : history.weights
  const next = { ...history, weights, guessedMs: nowMs }
  return { ...next, guesses: chancesOf(outlookOf(next, time), LESSON_MS) }
}

/** A forecast for one moment, with what does not depend on how far it looks made once. */
interface Outlook {
  readonly recent: readonly number[]
  readonly season: (horizonMs: number) => number
  readonly pause: (horizonMs: number) => number
}

function outlookOf(history: ArrivalHistory, { nowMs, calendarMs }: ForecastTime): Outlook {
  const idleMs = Math.max(0, nowMs - (history.lastArrivalMs ?? history.startedMs ?? nowMs))
  return {
    recent: RECENT_MS.map((_, index) => recentHazard(history, index, nowMs)),
    season: seasonAhead(history, calendarMs),
    pause: pauseEnds(history.pauses, idleMs, hazardOf(history.perHour / 60)),
  }
}

function chanceWithin({ weights }: ArrivalHistory, outlook: Outlook, horizonMs: number): number {
  return blended(weights, chancesOf(outlook, horizonMs))
}

/** What each way to forecast says by itself. */
function chancesOf({ recent, season, pause }: Outlook, horizonMs: number): readonly number[] {
  const chances = recent.map((hazard) => -Math.expm1(-hazard * horizonMs))
  chances.push(-Math.expm1(-season(horizonMs)), pause(horizonMs))
  return chances
}

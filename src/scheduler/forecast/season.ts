import type { ArrivalHistory } from '../state.ts'
import { HOUR_MS, hazardOf } from './active-minutes.ts'

export const HOURS_OF_WEEK = 168

/** What a week ago counts against this one. */
const KEPT_PER_WEEK = 0.8
/** Hours of watching that the next broader rate is worth: hour of the week, hour of the day, the model's rate. */
const WEEK_PRIOR_HOURS = 1.5
const DAY_PRIOR_HOURS = 2
/** A model of which nothing is known has requests in this many minutes of a day, and one day is believed of that. */
const UNKNOWN_PER_HOUR = 1 / 24
const UNKNOWN_HOURS = 24

/** The hour of the calendar, counted from the epoch. In UTC: clocks that are changed twice a year shift it by one. */
export function hourOf(calendarMs: number): number {
  return Math.floor(calendarMs / HOUR_MS)
}

type Season = Pick<ArrivalHistory, 'hourOfWeek' | 'hoursSeen' | 'hour' | 'hourActive' | 'perHour'>

/** The season after those minutes with requests, spread over the time up to `calendarMs`. */
export function countedHours(
  history: ArrivalHistory,
  active: number,
  { calendarMs, elapsedMs }: { readonly calendarMs: number; readonly elapsedMs: number },
): Season {
  const hour = hourOf(calendarMs)
  if (history.hourOfWeek.length === 0) {
    const none: readonly number[] = new Array<number>(HOURS_OF_WEEK).fill(0)
    return { hourOfWeek: none, hoursSeen: none, hour, hourActive: active, perHour: perHourOf(none, none) }
  }
  const { hourOfWeek, hoursSeen, perHour } = history
  if (hour === history.hour) {
    return { hourOfWeek, hoursSeen, hour, hourActive: history.hourActive + active, perHour }
  }
  return foldedHours(history, active, calendarMs, elapsedMs)
}

/** Requests that the season expects from `calendarMs` on within a horizon; asked with growing horizons it is quickest. */
export function seasonAhead(history: ArrivalHistory, calendarMs: number): (horizonMs: number) => number {
  const first = hourOf(calendarMs)
  /** What is expected up to the ends of the hours that were looked at, this one's first. */
  const upTo: number[] = []
  const hazards: number[] = []
  return (horizonMs) => {
    const endMs = calendarMs + Math.min(horizonMs, HOURS_OF_WEEK * HOUR_MS)
    const last = hourOf(endMs)
    for (let hour = first + upTo.length; hour <= last; hour++) {
      const hazard = hazardOf(perHourAt(history, hour) / 60)
      const startMs = Math.max(calendarMs, hour * HOUR_MS)
      upTo.push((upTo.at(-1) ?? 0) + hazard * ((hour + 1) * HOUR_MS - startMs))
      hazards.push(hazard)
    }
    const startMs = Math.max(calendarMs, last * HOUR_MS)
    return (upTo[last - first - 1] ?? 0) + (hazards[last - first] ?? 0) * (endMs - startMs)
  }
}

/**
 * Puts the hour that was being counted, and those after it that are over, into the week. A clock that was set back or
 * more than a week ahead begins anew with the hour that it shows: what it skipped was not watched.
 */
function foldedHours(history: ArrivalHistory, active: number, calendarMs: number, elapsedMs: number): Season {
  const hour = hourOf(calendarMs)
  const skipped = hour - history.hour
  if (skipped < 0 || skipped > HOURS_OF_WEEK) {
    const { hourOfWeek, hoursSeen, perHour } = history
    return { hourOfWeek, hoursSeen, hour, hourActive: active, perHour }
  }
  const hourOfWeek = [...history.hourOfWeek]
  const hoursSeen = [...history.hoursSeen]
  const startMs = calendarMs - elapsedMs
  const shareOf = (one: number) => {
    if (elapsedMs <= 0) return one === hour ? active : 0
    const overlapMs = Math.min(calendarMs, (one + 1) * HOUR_MS) - Math.max(startMs, one * HOUR_MS)
    return (active * Math.max(0, overlapMs)) / elapsedMs
  }
  for (let one = history.hour; one < hour; one++) {
    const counted = shareOf(one) + (one === history.hour ? history.hourActive : 0)
    const index = one % HOURS_OF_WEEK
    hourOfWeek[index] = (hourOfWeek[index] ?? 0) * KEPT_PER_WEEK + counted
    hoursSeen[index] = (hoursSeen[index] ?? 0) * KEPT_PER_WEEK + 1
  }
  return { hourOfWeek, hoursSeen, hour, hourActive: shareOf(hour), perHour: perHourOf(hourOfWeek, hoursSeen) }
}

/** Minutes with requests in an hour, whichever; of a model that was hardly watched, what is usual. */
function perHourOf(hourOfWeek: readonly number[], hoursSeen: readonly number[]): number {
  const active = hourOfWeek.reduce((sum, one) => sum + one, UNKNOWN_PER_HOUR * UNKNOWN_HOURS)
  return active / hoursSeen.reduce((sum, one) => sum + one, UNKNOWN_HOURS)
}

/**
 * Minutes with requests to be expected in that hour: the gamma-Poisson posterior mean of its hour of the week, whose
 * prior is that of its hour of the day, whose prior is the model's own rate.
 */
function perHourAt({ hourOfWeek, hoursSeen, perHour }: ArrivalHistory, hour: number): number {
  let active = DAY_PRIOR_HOURS * perHour
  let seen = DAY_PRIOR_HOURS
  for (let index = hour % 24; index < hourOfWeek.length; index += 24) {
    active += hourOfWeek[index] ?? 0
    seen += hoursSeen[index] ?? 0
  }
  const ofDay = active / seen
  const index = hour % HOURS_OF_WEEK
  return ((hourOfWeek[index] ?? 0) + WEEK_PRIOR_HOURS * ofDay) / ((hoursSeen[index] ?? 0) + WEEK_PRIOR_HOURS)
}

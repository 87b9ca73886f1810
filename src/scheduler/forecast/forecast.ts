import type { ArrivalHistory } from '../state.ts'

/** The two clocks that a forecast needs: one that never goes back, and the calendar for the hour of the week. */
export interface ForecastTime {
  readonly nowMs: number
  readonly calendarMs: number
}

/** The history after so many requests, spread over the time since it was last brought up to date. */
export function observeArrivals(
  history: ArrivalHistory,
  arrivals: number,
  { nowMs }: ForecastTime,
): ArrivalHistory {
  return { ...history, lastArrivalMs: arrivals > 0 ? nowMs : history.lastArrivalMs, updatedMs: nowMs }
}

/** The chance, 0 to 1, that at least one request comes within `horizonMs` from now. */
export function arrivalChance(_history: ArrivalHistory, _horizonMs: number, _time: ForecastTime): number {
  return 0
}

/** Requests per hour that are expected from now on. */
export function requestsPerHour(_history: ArrivalHistory, _time: ForecastTime): number {
  return 0
}

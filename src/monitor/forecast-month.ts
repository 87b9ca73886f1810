import type { MonthForecast, Range } from '../contracts/monitor.ts'

/** Sums of one hour (UTC). */
export interface HourFigures {
  readonly atMs: number
  readonly requests: number
  readonly tokens: number
  readonly cost: number
}

const HOUR_MS = 3_600_000
const WEEK_HOURS = 168
/** How far back it is looked: further, and a growth of weeks ago would weigh as much as that of now. */
export const LEARNED_HOURS = 4 * WEEK_HOURS
/** Of the normal distribution: 80 % lie within so many standard deviations. */
const Z_80 = 1.281_55

/**
 * What the running month (UTC) comes to if it goes on as in the last four weeks. Each hour that is left is taken to be the
 * mean of the same hour of the week (a seasonal mean: see Hyndman and Athanasopoulos, Forecasting: Principles and Practice,
 * 5.2); with less than two weeks it is the mean of all hours. How far days differed from that makes the range, together with
 * how well a mean of so few weeks can be known.
 * @param hours in any order; an hour that is missing had nothing
 */
export function forecastMonth(hours: readonly HourFigures[], nowMs: number): MonthForecast {
  const now = new Date(nowMs)
  const month = { startMs: monthStart(now, 0), endMs: monthStart(now, 1), nowMs }
  const range = (figure: (hour: HourFigures) => number) =>
    rangeOf(new Map(hours.map((hour) => [hour.atMs, figure(hour)])), month)
  return {
    month: now.toISOString().slice(0, 7),
    requests: range(({ requests }) => requests),
    tokens: range(({ tokens }) => tokens),
    cost: range(({ cost }) => cost),
  }
}

interface Month {
  readonly startMs: number
  readonly endMs: number
  readonly nowMs: number
}

function rangeOf(byHour: ReadonlyMap<number, number>, { startMs, endMs, nowMs }: Month): Range {
  const soFar = [...byHour].reduce(
    (sum, [atMs, value]) => (atMs >= startMs && atMs < endMs ? sum + value : sum),
    0,
  )
  const learned = learnedSeries(byHour, nowMs)
  const isSeasonal = learned.values.length >= 2 * WEEK_HOURS
  const model = isSeasonal ? seasonal(learned) : plain(learned)
  const left = hoursLeft(nowMs, endMs)
  const expected = left.reduce((sum, { atMs, share }) => sum + share * model.mean(atMs), 0)
  const spread = model.quantile * Math.sqrt(model.variance(left.reduce((sum, { share }) => sum + share, 0)))
  const likely = soFar + expected
  // What has been stays: no end of the month is below it.
  return {
    soFar,
    likely: Math.round(likely),
    low: Math.round(Math.max(soFar, likely - spread)),
    high: Math.round(likely + spread),
  }
}

interface Learned {
  readonly startMs: number
  /** Hour by hour, without a gap, up to the last whole one. */
  readonly values: readonly number[]
}

function learnedSeries(byHour: ReadonlyMap<number, number>, nowMs: number): Learned {
  const endMs = Math.floor(nowMs / HOUR_MS) * HOUR_MS
  const known = [...byHour.keys()].filter((atMs) => atMs < endMs)
  // Before its first request somebody was not there, which is not the same as quiet.
  const firstMs = known.reduce((least, atMs) => Math.min(least, atMs), endMs)
  const startMs = Math.max(firstMs, endMs - LEARNED_HOURS * HOUR_MS)
  const length = Math.round((endMs - startMs) / HOUR_MS)
  return { startMs, values: Array.from({ length }, (_, at) => byHour.get(startMs + at * HOUR_MS) ?? 0) }
}

interface Model {
  mean(atMs: number): number
  /** Of the sum over so many hours that come. */
  variance(hours: number): number
  /** Standard deviations to either side that hold 80 %. */
  readonly quantile: number
}

function seasonal({ startMs, values }: Learned): Model {
  const weeks = values.length / WEEK_HOURS
  const sums = new Map<number, { sum: number; count: number }>()
  values.forEach((value, at) => {
    const slot = slotOf(startMs + at * HOUR_MS)
    const { sum, count } = sums.get(slot) ?? { sum: 0, count: 0 }
    sums.set(slot, { sum: sum + value, count: count + 1 })
  })
  const mean = (atMs: number) => {
    const { sum, count } = sums.get(slotOf(atMs)) ?? { sum: 0, count: 1 }
    return sum / count
  }
  const differences = values.map((value, at) => value - mean(startMs + at * HOUR_MS))
  const days = blockSums(differences, 24)
  // The means were made of the same weeks, and lie closer to them than to those that come.
  const ofDay = (meanSquare(days) * weeks) / (weeks - 1)
  return {
    mean,
    // Each day by itself, and the error of its mean, which comes again each week.
    variance: (hours) =>
      (hours / 24) * ofDay + ((hours / 24) * Math.max(1, hours / WEEK_HOURS) * ofDay) / weeks,
    quantile: studentQuantile(7 * (weeks - 1)),
  }
}

function plain({ values }: Learned): Model {
  const mean = values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length
  // By days where there are some: the hours of a day are much alike.
  const block = values.length >= 72 ? 24 : 1
  const blocks = blockSums(
    values.map((value) => value - mean),
    block,
  )
  const ofBlock = blocks.length < 2 ? 0 : (meanSquare(blocks) * blocks.length) / (blocks.length - 1)
  return {
    mean: () => mean,
    variance: (hours) =>
      (hours / block) * ofBlock + (hours / block) ** 2 * (ofBlock / Math.max(1, blocks.length)),
    quantile: studentQuantile(Math.max(1, blocks.length - 1)),
  }
}

/** Sums of whole blocks, the last ones: what is left over at the beginning is left out. */
function blockSums(values: readonly number[], length: number): readonly number[] {
  const count = Math.floor(values.length / length)
  const start = values.length - count * length
  return Array.from({ length: count }, (_, block) =>
    values.slice(start + block * length, start + (block + 1) * length).reduce((sum, value) => sum + value, 0),
  )
}

function meanSquare(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value * value, 0) / values.length
}

/** Student's t from the normal quantile, by the first two terms of Cornish and Fisher's expansion. */
function studentQuantile(degrees: number): number {
  const z = Z_80
  return z + (z ** 3 + z) / (4 * degrees) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2)
}

/** The hours until the end, of the running one the part that is left. */
function hoursLeft(
  nowMs: number,
  endMs: number,
): readonly { readonly atMs: number; readonly share: number }[] {
  const firstMs = Math.floor(nowMs / HOUR_MS) * HOUR_MS
  return Array.from({ length: Math.round((endMs - firstMs) / HOUR_MS) }, (_, at) => {
    const atMs = firstMs + at * HOUR_MS
    return { atMs, share: Math.min(1, (atMs + HOUR_MS - nowMs) / HOUR_MS) }
  })
}

function slotOf(atMs: number): number {
  return Math.floor(atMs / HOUR_MS) % WEEK_HOURS
}

/** When the month begins that comes so many after this one. */
export function monthStart(at: Date, later: number): number {
  return Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + later, 1)
}

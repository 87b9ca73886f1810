import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Random, seededRandom } from '../../src/core/random.ts'
import type { ModelSpec } from '../../src/scheduler/state.ts'
import { model } from './cluster.ts'

export const HOUR_MS = 3_600_000
const GIB = 2 ** 30
/** Noon of a Monday would do as well; the trace does not say when it began. */
export const TRACE_START_MS = Date.UTC(2025, 0, 6)

/** Requests of many models in the order of their times, from zero on. */
export interface ModelTrace {
  readonly specs: readonly ModelSpec[]
  readonly timesMs: Float64Array
  /** Index in `specs` of each request. */
  readonly models: Uint16Array
  readonly lengthMs: number
}

/** Mean requests per second of each client in each hour of two weeks. */
export function readHourlyRates(): readonly (readonly number[])[] {
  const text = readFileSync(join(import.meta.dirname, '../traces/servegen-m-small-hourly.csv'), 'utf8')
  return text
    .trim()
    .split('\n')
    .map((line) => line.split(',').slice(1).map(Number))
}

/**
 * A synthetic trace whose popularity over time is real: each client of ServeGen's m-small is taken for a model, all
 * rates are divided by one number, and requests come as a Poisson process of that rate. Sizes are 2 to 32 GiB; a load
 * takes 1.5 s and half a second per GiB.
 * @param busiestMs the mean pause between requests of the busiest model
 */
export function serveGenTrace(seed: number, busiestMs: number): ModelTrace {
  const random = seededRandom(seed)
  const rates = readHourlyRates()
  const means = rates.map((row) => row.reduce((sum, rate) => sum + rate, 0) / row.length)
  const factor = 1 / (Math.max(...means) * busiestMs)
  const specs = rates.map((_, index) => {
    const gib = 2 + random.uniform() * 30
    const loadMs = 1_500 + 500 * gib
    return model(`client-${index}`, Math.round(gib * GIB), { loadMs, cachedLoadMs: loadMs })
  })
  const arrivals = rates.flatMap((row, index) =>
    row.flatMap((rate, hour) =>
      poissonTimes(random, rate * factor, HOUR_MS).map((time) => [hour * HOUR_MS + time, index] as const),
    ),
  )
  arrivals.sort((a, b) => a[0] - b[0])
  return {
    specs,
    timesMs: Float64Array.from(arrivals, ([time]) => time),
    models: Uint16Array.from(arrivals, ([, index]) => index),
    lengthMs: (rates[0]?.length ?? 0) * HOUR_MS,
  }
}

/** Times of a Poisson process of `perMs` from zero to `endMs`. */
export function poissonTimes(random: Random, perMs: number, endMs: number): number[] {
  const times: number[] = []
  if (perMs <= 0) return times
  for (let time = wait(random, perMs); time < endMs; time += wait(random, perMs)) times.push(time)
  return times
}

function wait(random: Random, perMs: number): number {
  return -Math.log(1 - random.uniform()) / perMs
}

import type { BenchOptions, Goal } from './report.ts'

/** One question of the scheduling bench, answered. */
export interface PartResult {
  readonly goals: readonly Goal[]
  readonly summary: object
  readonly rounds: readonly object[]
  readonly notes: readonly string[]
  readonly table: readonly string[]
}

export type Part = (options: BenchOptions) => Promise<PartResult> | PartResult

export function seedsFor({ quick }: BenchOptions): readonly number[] {
  return Array.from({ length: quick ? 3 : 20 }, (_, place) => place + 1)
}

export interface Interval {
  readonly mean: number
  /** Of the mean, at 95 %, by the normal distribution. */
  readonly low: number
  readonly high: number
}

export function interval(values: readonly number[]): Interval {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance =
    values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, values.length - 1)
  const half = 1.96 * Math.sqrt(variance / values.length)
  return { mean, low: mean - half, high: mean + half }
}

export function intervalText({ mean, low, high }: Interval): string {
  const digits = mean >= 100 ? 0 : mean >= 10 ? 1 : 3
  return `${mean.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`
}

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'

export interface BenchOptions {
  /** Shorter rounds: enough to see that all is well, not to publish. */
  readonly quick: boolean
  /** Where the recorded traces are that a benchmark with `takesTraces` may replay. */
  readonly traces: string | undefined
  /** Tells the person who waits what is going on. */
  say(text: string): void
}

/** What a benchmark found out; written to bench/results. */
export interface BenchResult {
  readonly settings: object
  readonly versions: Readonly<Record<string, string>>
  /** What a reader must know to judge the numbers. */
  readonly notes: readonly string[]
  readonly goals: readonly Goal[]
  readonly summary: object
  /** Every number that was measured. */
  readonly rounds: readonly object[]
  /** The summary for a terminal. */
  readonly table: readonly string[]
}

export interface Goal {
  readonly name: string
  readonly atMost?: number
  readonly atLeast?: number
  /** The median over the rounds. */
  readonly value: number
  readonly lowest: number
  readonly highest: number
  readonly reached: boolean
}

export interface Benchmark {
  readonly summary: string
  readonly takesTraces?: boolean
  run(options: BenchOptions): Promise<BenchResult>
}

export function goal(
  name: string,
  limit: { readonly atMost: number } | { readonly atLeast: number },
  values: readonly number[],
): Goal {
  const value = median(values)
  const reached = 'atMost' in limit ? value <= limit.atMost : value >= limit.atLeast
  const range = { lowest: rounded(Math.min(...values)), highest: rounded(Math.max(...values)) }
  return { name, ...limit, value: rounded(value), ...range, reached }
}

export function goalLine(one: Goal): string {
  const limit = one.atMost === undefined ? `at least ${one.atLeast}` : `at most ${rounded(one.atMost)}`
  const range = `${one.value} (${one.lowest} to ${one.highest})`
  return `${one.reached ? 'reached' : 'MISSED '}  ${one.name}: ${range}, ${limit}`
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/** Four significant digits. */
export function rounded(value: number): number {
  return Number(value.toPrecision(4))
}

export function machineFacts(): object {
  return {
    processor: cpus()[0]?.model,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    loadAverageBefore: loadavg().map(rounded),
  }
}

/** The commit that was measured; with `changed`, files differ from it. */
export function sourceFacts(): object {
  const git = (...args: string[]) =>
    spawnSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' }).stdout?.trim()
  return { commit: git('rev-parse', 'HEAD') || undefined, changed: git('status', '--porcelain', '..') !== '' }
}

/** The versions of these packages as they are installed, with Node's. */
export function versionsOf(...packages: readonly string[]): Record<string, string> {
  const root = join(import.meta.dirname, '..')
  const read = (path: string): string => JSON.parse(readFileSync(join(root, path), 'utf8')).version
  const entries = packages.map((name) => [name, read(`node_modules/${name}/package.json`)])
  return { node: process.versions.node, helixflow: read('package.json'), ...Object.fromEntries(entries) }
}

/** Columns as wide as their longest cell; numbers to the right. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string[] {
  const cells = [
    header,
    ...rows.map((row) => row.map((cell) => String(typeof cell === 'number' ? rounded(cell) : cell))),
  ]
  const widths = header.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  return cells.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  '),
  )
}

import type { Queries } from '../database.ts'

/** `advice` costs speed or comfort; `problem` may cost data, privacy or the service. */
export type Level = 'ok' | 'advice' | 'problem'

export interface Finding {
  /** What was examined. */
  readonly name: string
  readonly level: Level
  readonly text: string
  /** What to do about it. */
  readonly remedy?: string | undefined
}

/** What the database itself cannot tell. */
export interface DoctorFacts {
  /** Upper bound of the pool of each HelixFlow process. */
  readonly connectionsMax: number
  /** Memory that the database may take; undefined when it runs on a machine that nobody told of. */
  readonly memoryBytes: number | undefined
  /** A transaction that is older keeps dead rows from being removed. */
  readonly longTransactionMs: number
}

export interface Check {
  readonly name: string
  /** One outcome, or one for each thing that is wrong. */
  run(database: Queries, facts: DoctorFacts): Promise<Outcome | readonly Outcome[]>
}

export type Outcome = Omit<Finding, 'name'>

export function ok(text: string): Outcome {
  return { level: 'ok', text }
}

export function advice(text: string, remedy: string): Outcome {
  return { level: 'advice', text, remedy }
}

export function problem(text: string, remedy: string): Outcome {
  return { level: 'problem', text, remedy }
}

/** The only row of a statement that always returns one. */
export async function one<Row extends object>(database: Queries, sql: string): Promise<Row> {
  const [row] = await database.query<Row & Record<string, unknown>>(sql)
  return row as Row
}

/** 268435456 -> `256 MiB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)))
  const value = bytes / 1_024 ** power
  return `${Number.isInteger(value) || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`
}

/** 92 -> `92 s`, 5400 -> `90 min`. */
export function secondsText(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`
  return `${Math.round(seconds / 86_400)} days`
}

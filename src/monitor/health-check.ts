import type { ComponentKind, Health } from '../contracts/monitor.ts'
import type { Answer } from './query/evaluate.ts'
import type { Query } from './query/query.ts'

/** Asks what was read of all processes. */
export type Ask = (query: Query) => readonly Answer[]

export interface Finding {
  readonly health: Exclude<Health, 'healthy'>
  readonly reason: string
  readonly remedy: string
}

type Labels = Readonly<Record<string, string>>

/**
 * One thing to look at, of every component that answers the question: how it is called, and what is wrong with it if
 * anything is. A component may have several; the gravest finding counts.
 */
export interface HealthCheck {
  readonly kind: ComponentKind
  readonly query: Query
  /** What `judge` asks beside it. */
  readonly also?: readonly Query[] | undefined
  name(labels: Labels): string
  judge(value: number, labels: Labels, ask: Ask): Finding | undefined
}

export function degraded(reason: string, remedy: string): Finding {
  return { health: 'degraded', reason, remedy }
}

export function failed(reason: string, remedy: string): Finding {
  return { health: 'failed', reason, remedy }
}

/** 0.0734 -> `7 %`. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}

/** 98362432 -> `98.4 MB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3))
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}

/** 5400 -> `1.5 hours`. */
export function spanText(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} seconds`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} minutes`
  if (seconds < 172_800) return `${Math.round(seconds / 360) / 10} hours`
  return `${Math.round(seconds / 86_400)} days`
}

import type { AlertState, Severity } from '../../contracts/monitor.ts'

/** One alert: a rule and the labels for which its condition holds or held. Plain data, to be kept over a restart. */
export interface Alert {
  readonly name: string
  readonly severity: Severity
  readonly labels: Readonly<Record<string, string>>
  readonly state: AlertState
  /** Of this state. */
  readonly sinceMs: number
  /** When its condition began to hold. */
  readonly activeAtMs: number
  /** When its condition held last. */
  readonly heldAtMs: number
  /** As it was last seen. */
  readonly value: number
}

/** Alerts that are told of together, and what was told of them. */
export interface AlertGroup {
  readonly key: string
  /** When there was first something to tell. */
  readonly sinceMs: number
  /** When it was told of last; undefined: not yet. */
  readonly toldAtMs?: number | undefined
  /** Keys of the alerts that were told as firing and not yet as resolved. */
  readonly told: readonly string[]
}

/** All that the evaluator remembers from one round to the next. */
export interface AlertsState {
  readonly alerts: readonly Alert[]
  readonly groups: readonly AlertGroup[]
}

export const NO_ALERTS: AlertsState = { alerts: [], groups: [] }

/** What tells one alert from all others. */
export function alertKey({ name, severity, labels }: Pick<Alert, 'name' | 'severity' | 'labels'>): string {
  const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([name, severity, ...sorted])
}

/** Alerts of one name and severity are told of together. */
export function groupKey({ name, severity }: Pick<Alert, 'name' | 'severity'>): string {
  return `${name} ${severity}`
}

export function byGroup(alerts: readonly Alert[]): ReadonlyMap<string, readonly Alert[]> {
  const groups = new Map<string, Alert[]>()
  for (const alert of alerts) {
    const key = groupKey(alert)
    groups.set(key, [...(groups.get(key) ?? []), alert])
  }
  return groups
}

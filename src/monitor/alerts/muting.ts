import type { Silence } from '../../contracts/monitor.ts'
import { type Alert, alertKey } from './alert-state.ts'
import { type AlertRule, ruleId } from './rule.ts'

/** Why an alert is not told of by itself. */
export interface Muting {
  /** The id of a silence. */
  readonly silencedBy?: string | undefined
  /** The name of the alert that explains it. */
  readonly inhibitedBy?: string | undefined
}

/** For every alert that is not to be told of, by its key, why. */
export function mutings(
  alerts: readonly Alert[],
  rules: readonly AlertRule[],
  silences: readonly Silence[],
  nowMs: number,
): ReadonlyMap<string, Muting> {
  const byId = new Map(rules.map((rule) => [ruleId(rule), rule]))
  const firing = alerts.filter(({ state }) => state === 'firing')
  const muted = new Map<string, Muting>()
  for (const alert of alerts) {
    if (alert.state === 'resolved') continue
    const silencedBy = silences.find((silence) => silence.untilMs > nowMs && matches(silence, alert))?.id
    const cause = firing.find((other) => explains(byId.get(ruleId(other)), other, alert))
    if (silencedBy !== undefined || cause)
      muted.set(alertKey(alert), { silencedBy, inhibitedBy: cause?.name })
  }
  return muted
}

/** Whether a silence is about that alert: `alert` is its name, anything else a label. */
export function matches({ matchers }: Pick<Silence, 'matchers'>, { name, severity, labels }: Alert): boolean {
  const all: Readonly<Record<string, string>> = { severity, ...labels, alert: name }
  return Object.entries(matchers).every(([label, value]) => (all[label] ?? '') === value)
}

const GRAVITY = { critical: 2, warning: 1, info: 0 } as const

function explains(rule: AlertRule | undefined, source: Alert, target: Alert): boolean {
  if (source.name === target.name)
    return GRAVITY[source.severity] > GRAVITY[target.severity] && sameIn(source, target)
  return (rule?.explains ?? []).some(
    ({ alerts, equal }) => alerts.includes(target.name) && sameIn(source, target, equal ?? []),
  )
}

function sameIn(
  source: Alert,
  target: Alert,
  labels: readonly string[] = Object.keys(source.labels),
): boolean {
  return labels.every((label) => source.labels[label] === target.labels[label])
}

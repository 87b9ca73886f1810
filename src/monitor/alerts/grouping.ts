import { type Alert, type AlertGroup, alertKey, byGroup, groupKey } from './alert-state.ts'
import type { Muting } from './muting.ts'
import type { Notification, NotifiedAlert } from './notification.ts'
import { type AlertRule, ruleId, runbookOf } from './rule.ts'
import { rendered } from './text.ts'

/** So that what breaks together is told together. */
const WAIT_MS = 20_000
/** From one notification of a group to the next, where something was added to it. */
const INTERVAL_MS = 120_000
/** How often it is said that nothing has changed. */
const REMINDER_MS = 300_000

export interface Told {
  readonly groups: readonly AlertGroup[]
  readonly due: readonly Notification[]
}

/**
 * What is to be told now. A group is told of once it has waited a moment, then when alerts were added or resolved, and
 * at once when the last is resolved. What was told as firing is told as resolved, unless it is silenced by then.
 */
export function tell(
  alerts: readonly Alert[],
  muted: ReadonlyMap<string, Muting>,
  groups: readonly AlertGroup[],
  context: { readonly rules: readonly AlertRule[]; readonly nowMs: number },
): Told {
  const before = new Map(groups.map((group) => [group.key, group]))
  const grouped = byGroup(alerts)
  const due: Notification[] = []
  const after: AlertGroup[] = []
  for (const rule of context.rules) {
    const key = groupKey(rule)
    const group = before.get(key)
    const members = grouped.get(key) ?? []
    if (!group && members.length === 0) continue
    const next = tellGroup(rule, members, muted, { group, nowMs: context.nowMs })
    if (next.group) after.push(next.group)
    if (next.notification) due.push(next.notification)
  }
  return { groups: after, due }
}

function tellGroup(
  rule: AlertRule,
  members: readonly Alert[],
  muted: ReadonlyMap<string, Muting>,
  { group, nowMs }: { readonly group: AlertGroup | undefined; readonly nowMs: number },
): { readonly group?: AlertGroup; readonly notification?: Notification } {
  const firing = members.filter((one) => one.state === 'firing' && !muted.has(alertKey(one)))
  const before = new Set(group?.told)
  // A silence is a wish for quiet about the end too; what is explained by another alert is told of to its end.
  const toldStill = members.filter(
    (one) => before.has(alertKey(one)) && muted.get(alertKey(one))?.silencedBy === undefined,
  )
  const resolved = toldStill.filter((one) => one.state === 'resolved')
  const open = toldStill.filter((one) => one.state !== 'resolved')
  if (firing.length + resolved.length + open.length === 0) return {}
  const now: AlertGroup = group ?? { key: groupKey(rule), sinceMs: nowMs, told: [] }
  const added = firing.some((one) => !before.has(alertKey(one)))
  const ended = firing.length + open.length === 0
  if (!isDue(now, { changed: added || resolved.length > 0, ended }, nowMs))
    return { group: { ...now, told: toldStill.map(alertKey) } }
  const shown = [...new Set([...firing, ...open])]
  const status = ended ? 'resolved' : 'firing'
  const notification: Notification = {
    id: `${now.key} ${status} ${nowMs}`.replaceAll(' ', '-'),
    group: { key: now.key, alert: rule.name, severity: rule.severity },
    status,
    alerts: [...shown, ...resolved].map((one) => notified(rule, one)),
    reminder: !added && resolved.length === 0,
    atMs: nowMs,
  }
  if (ended) return { notification }
  return { notification, group: { ...now, toldAtMs: nowMs, told: shown.map(alertKey) } }
}

function isDue(
  { sinceMs, toldAtMs }: AlertGroup,
  { changed, ended }: { readonly changed: boolean; readonly ended: boolean },
  nowMs: number,
): boolean {
  if (toldAtMs === undefined) return nowMs - sinceMs >= WAIT_MS
  return ended || nowMs - toldAtMs >= (changed ? INTERVAL_MS : REMINDER_MS)
}

function notified(rule: AlertRule, alert: Alert): NotifiedAlert {
  return {
    alert: alert.name,
    severity: alert.severity,
    status: alert.state === 'resolved' ? 'resolved' : 'firing',
    labels: alert.labels,
    value: alert.value,
    summary: rendered(rule.summary, alert.labels, alert.value),
    meaning: rule.meaning,
    action: rule.action,
    runbook: runbookOf(rule),
    startedAtMs: alert.activeAtMs,
    endedAtMs: alert.state === 'resolved' ? alert.sinceMs : undefined,
  }
}

/** What the text of a rule says of each alert, for whoever shows them. */
export function rulesById(rules: readonly AlertRule[]): ReadonlyMap<string, AlertRule> {
  return new Map(rules.map((rule) => [ruleId(rule), rule]))
}

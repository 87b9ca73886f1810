import type { AlertState, AlertView, Silence } from '../../contracts/monitor.ts'
import { type Answer, evaluateCondition } from '../query/evaluate.ts'
import type { SampleSource } from '../query/samples.ts'
import { advance, type Round } from './advance.ts'
import { type Alert, type AlertsState, alertKey, byGroup, groupKey } from './alert-state.ts'
import { rulesById, tell } from './grouping.ts'
import { mutings } from './muting.ts'
import type { Notification } from './notification.ts'
import { type AlertRule, ruleId, runbookOf } from './rule.ts'
import { rendered } from './text.ts'

/** For each rule, by its id, the labels for which its condition holds. */
export type RuleAnswers = ReadonlyMap<string, readonly Answer[]>

export interface Judgement {
  readonly state: AlertsState
  readonly transitions: readonly Transition[]
  /** What is to be told of now, in the order of the rules. */
  readonly due: readonly Notification[]
}

export interface Transition {
  readonly alert: Alert
  /** Undefined: it was not there, or long resolved. */
  readonly from: AlertState | undefined
  /** Undefined: it pended and is gone. */
  readonly to: AlertState | undefined
}

/** What the samples say of every rule at that moment. */
export function answersOf(rules: readonly AlertRule[], source: SampleSource, atMs: number): RuleAnswers {
  return new Map(rules.map((rule) => [ruleId(rule), evaluateCondition(rule.condition, source, atMs)]))
}

/**
 * One round of all alerts: who pends, fires and is resolved, and what is to be told of it. A rule that is gone takes its
 * alerts along.
 */
export function judge(
  rules: readonly AlertRule[],
  answers: RuleAnswers,
  before: AlertsState,
  round: Round & { readonly silences: readonly Silence[] },
): Judgement {
  const known = byGroup(before.alerts)
  const alerts = rules.flatMap((rule) =>
    advance(rule, known.get(groupKey(rule)) ?? [], answers.get(ruleId(rule)) ?? [], round),
  )
  const muted = mutings(alerts, rules, round.silences, round.nowMs)
  const { groups, due } = tell(alerts, muted, before.groups, { rules, nowMs: round.nowMs })
  return { state: { alerts, groups }, transitions: transitionsOf(before.alerts, alerts), due }
}

const GRAVITY = ['critical', 'warning', 'info']
const URGENCY = ['firing', 'pending', 'resolved']

/** Alerts as they are shown, the gravest first. */
export function viewsOf(
  { alerts }: AlertsState,
  rules: readonly AlertRule[],
  silences: readonly Silence[],
  nowMs: number,
): readonly AlertView[] {
  const byId = rulesById(rules)
  const muted = mutings(alerts, rules, silences, nowMs)
  const views = alerts.flatMap((alert): AlertView[] => {
    const rule = byId.get(ruleId(alert))
    if (!rule) return []
    const { name, severity, state, labels, value, sinceMs } = alert
    return [
      {
        ...{ alert: name, severity, state, labels, sinceMs },
        value: state === 'resolved' ? undefined : value,
        summary: rendered(rule.summary, labels, value),
        action: rule.action,
        runbook: runbookOf(rule),
        ...muted.get(alertKey(alert)),
      },
    ]
  })
  const rank = ({ state, severity }: AlertView) =>
    URGENCY.indexOf(state) * GRAVITY.length + GRAVITY.indexOf(severity)
  return views.sort((a, b) => rank(a) - rank(b) || b.sinceMs - a.sinceMs)
}

function transitionsOf(before: readonly Alert[], after: readonly Alert[]): readonly Transition[] {
  const left = new Map(before.map((alert) => [alertKey(alert), alert]))
  const changed = after.flatMap((alert): Transition[] => {
    const from = left.get(alertKey(alert))?.state
    left.delete(alertKey(alert))
    return from === alert.state ? [] : [{ alert, from, to: alert.state }]
  })
  const gone = [...left.values()].filter(({ state }) => state === 'pending')
  return [...changed, ...gone.map((alert) => ({ alert, from: alert.state, to: undefined }))]
}

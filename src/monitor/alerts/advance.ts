import type { Answer } from '../query/evaluate.ts'
import type { Query } from '../query/query.ts'
import { queriesOf } from '../query/selection.ts'
import { type Alert, alertKey } from './alert-state.ts'
import { type AlertRule, KEEP_FIRING_MS } from './rule.ts'

export interface Round {
  readonly nowMs: number
  /** Since when metrics have been read without a break: what was not read yet says nothing against an alert. */
  readonly readingSinceMs: number
}

/** Resolved alerts are shown for so long. */
const RESOLVED_KEPT_MS = 3_600_000
/** After a start an alert fires on until its window is filled again, but no longer than that. */
const SETTLE_MAX_MS = 900_000
const SETTLE_MIN_MS = 60_000

/**
 * The alerts of one rule, one round later. As in Prometheus: pending while the condition holds, firing once it has held for
 * `forMs`, and on for `KEEP_FIRING_MS` after it held last.
 * @param answers the labels for which its condition holds now
 */
export function advance(
  rule: AlertRule,
  known: readonly Alert[],
  answers: readonly Answer[],
  round: Round,
): readonly Alert[] {
  const left = new Map(known.map((alert) => [alertKey(alert), alert]))
  const held = answers.map(({ labels, value }) => {
    const fresh = { name: rule.name, severity: rule.severity, labels }
    const before = left.get(alertKey(fresh))
    left.delete(alertKey(fresh))
    return stillHeld(rule, { ...fresh, value }, before, round.nowMs)
  })
  const others = [...left.values()].flatMap((alert) => notHeld(rule, alert, round))
  return [...held, ...others]
}

function stillHeld(
  { forMs }: AlertRule,
  fresh: Pick<Alert, 'name' | 'severity' | 'labels' | 'value'>,
  before: Alert | undefined,
  nowMs: number,
): Alert {
  const active = before && before.state !== 'resolved' ? before : undefined
  const activeAtMs = active?.activeAtMs ?? nowMs
  const state = active?.state === 'firing' || nowMs - activeAtMs >= forMs ? 'firing' : 'pending'
  const sinceMs = active?.state === state ? active.sinceMs : nowMs
  return { ...fresh, state, sinceMs, activeAtMs, heldAtMs: nowMs }
}

function notHeld(rule: AlertRule, alert: Alert, { nowMs, readingSinceMs }: Round): readonly Alert[] {
  if (alert.state === 'resolved') return nowMs - alert.sinceMs < RESOLVED_KEPT_MS ? [alert] : []
  if (nowMs - readingSinceMs < settleMs(rule)) return [alert]
  if (alert.state === 'pending') return []
  if (nowMs - alert.heldAtMs < KEEP_FIRING_MS) return [alert]
  return [{ ...alert, state: 'resolved', sinceMs: nowMs }]
}

function settleMs({ condition }: AlertRule): number {
  const windowMs = Math.max(...queriesOf(condition).map(windowOf))
  return Math.min(Math.max(windowMs, SETTLE_MIN_MS), SETTLE_MAX_MS)
}

function windowOf(query: Query): number {
  return 'windowMs' in query ? query.windowMs : 0
}

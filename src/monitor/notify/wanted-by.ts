import type { ReceiverSettings } from '../../config/notification-settings.ts'
import type { Notification, NotifiedAlert } from '../alerts/notification.ts'

/**
 * What of a notification a receiver wants to be told; undefined where that is nothing.
 * @param toldAtMs when this receiver was last told that the group fires; undefined: not since it was resolved
 */
export function wantedBy(
  receiver: ReceiverSettings,
  notification: Notification,
  toldAtMs: number | undefined,
): Notification | undefined {
  if (notification.receiver !== undefined && notification.receiver !== receiver.name) return undefined
  const alerts = notification.alerts.filter((alert) => wantsAlert(receiver, alert))
  if (alerts.length === 0) return undefined
  // Whoever was never told that it fires has no use for its end.
  if (notification.status === 'resolved' && (!receiver.sendResolved || toldAtMs === undefined))
    return undefined
  if (notification.reminder && !isDue(receiver, notification, toldAtMs)) return undefined
  return { ...notification, alerts }
}

/** Reminders come at the times of the evaluator's rounds: one that is early by a few seconds is not left for the next. */
const SLACK_MS = 30_000

function isDue(
  { repeatEvery }: ReceiverSettings,
  { atMs }: Notification,
  toldAtMs: number | undefined,
): boolean {
  return toldAtMs === undefined || atMs - toldAtMs >= repeatEvery - SLACK_MS
}

function wantsAlert({ severities, alerts }: ReceiverSettings, { severity, alert }: NotifiedAlert): boolean {
  if (severities && !severities.includes(severity)) return false
  return alerts === undefined || alerts.some((pattern) => fits(pattern, alert))
}

/** `*` stands for any text, also none. */
function fits(pattern: string, name: string): boolean {
  const expression = pattern.split('*').map((part) => part.replaceAll(/[^A-Za-z0-9]/g, ''))
  return new RegExp(`^${expression.join('.*')}$`).test(name)
}

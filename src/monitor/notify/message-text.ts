import type { Notification, NotifiedAlert } from '../alerts/notification.ts'

/** What it is about in one line: for a subject, a push notification, the first line of a chat. */
export function headlineOf({ group, status, alerts, reminder }: Notification): string {
  const firing = alerts.filter((alert) => alert.status === 'firing').length
  const count = status === 'firing' ? firing : alerts.length
  const words = status === 'resolved' ? 'RESOLVED' : reminder ? 'STILL FIRING' : 'FIRING'
  const first = alerts[0]?.summary ?? group.alert
  const what = alerts.length === 1 ? `${group.alert}: ${first}` : `${group.alert} (${count})`
  return `[${words}] ${group.severity} ${what}`
}

/** Alerts that are told by themselves; of more, the number is told. */
const ALERTS_MAX = 20

/** The whole of it as plain text: what is so, what it means, what to do, and where more is written. */
export function textOf(notification: Notification, runbookUrl: string | undefined): string {
  const { alerts } = notification
  const parts = alerts.slice(0, ALERTS_MAX).map((alert) => alertText(alert, runbookUrl))
  const more = alerts.length - parts.length
  const rest = more > 0 ? [`and ${more} more`] : []
  return [headlineOf(notification), ...parts, ...rest].join('\n\n')
}

function alertText(alert: NotifiedAlert, runbookUrl: string | undefined): string {
  const { status, summary, meaning, action, startedAtMs, endedAtMs } = alert
  const ended = endedAtMs === undefined ? '' : `, until ${timeText(endedAtMs)}`
  const when = `since ${timeText(startedAtMs)}${ended}`
  if (status === 'resolved') return `${summary}\n  resolved: ${when}${labelLine(alert)}`
  return [
    `${summary}${labelLine(alert)}`,
    `  ${when}`,
    `  What it means: ${meaning}`,
    `  What to do: ${action}`,
    `  Runbook: ${runbookLink(alert, runbookUrl)}`,
  ].join('\n')
}

function labelLine({ labels }: NotifiedAlert): string {
  const all = Object.entries(labels).map(([name, value]) => `${name}=${value}`)
  return all.length === 0 ? '' : `\n  ${all.join(' ')}`
}

/** Where the page of the alert is: a link where the settings say under what, else its path in the documents. */
export function runbookLink({ runbook }: NotifiedAlert, runbookUrl: string | undefined): string {
  return runbookUrl === undefined ? `docs/${runbook}` : `${runbookUrl.replace(/\/$/, '')}/${runbook}`
}

export function timeText(atMs: number): string {
  return `${new Date(atMs).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

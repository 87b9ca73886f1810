import type { Notification } from '../alerts/notification.ts'

/** What `helixflow notifications test` sends: in the shape of an alert, and says that it is none. */
export function testNotification(nowMs: number): Notification {
  const alert = {
    alert: 'TestNotification',
    severity: 'info',
    status: 'firing',
    labels: {},
    value: undefined,
    summary: 'This is a test: nothing is wrong.',
    meaning: 'Alerts of HelixFlow reach this receiver.',
    action: 'Nothing.',
    runbook: 'notifications.md',
    startedAtMs: nowMs,
  } as const
  return {
    id: `test-${nowMs}`,
    group: { key: 'TestNotification info', alert: 'TestNotification', severity: 'info' },
    status: 'firing',
    alerts: [alert],
    reminder: false,
    atMs: nowMs,
  }
}

import { type ReceiverSettings, Receivers } from '../../src/config/notification-settings.ts'
import type { Notification, NotifiedAlert } from '../../src/monitor/alerts/notification.ts'

const START_MS = Date.UTC(2026, 10, 1)

export function alertOf(over: Partial<NotifiedAlert> = {}): NotifiedAlert {
  return {
    alert: 'NodeDown',
    severity: 'critical',
    status: 'firing',
    labels: { node: 'node-1' },
    value: 0,
    summary: "Node 'node-1' has been silent for 2 minutes.",
    meaning: 'Its models are gone.',
    action: 'Look whether the machine is up.',
    runbook: 'runbooks/NodeDown.md',
    startedAtMs: START_MS,
    ...over,
  }
}

/** A notification of one group; each `at` is another one. */
export function notificationOf(
  atMs: number,
  status: 'firing' | 'resolved' = 'firing',
  over: Partial<Notification> = {},
): Notification {
  const ended = status === 'resolved' ? { endedAtMs: atMs } : {}
  return {
    id: `NodeDown-critical-${status}-${atMs}`,
    group: { key: 'NodeDown critical', alert: 'NodeDown', severity: 'critical' },
    status,
    alerts: [alertOf({ status, ...ended })],
    reminder: false,
    atMs,
    ...over,
  }
}

/** Receivers as the settings file would give them. */
export function receiversOf(...given: readonly object[]): readonly ReceiverSettings[] {
  return Receivers.parse(given)
}

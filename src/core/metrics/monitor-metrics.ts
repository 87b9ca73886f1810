import type { MetricDeclaration } from './declaration.ts'

/** What the monitor counts of its own work. */
export const MONITOR_METRICS = {
  helixflow_target_up: {
    type: 'gauge',
    help: '1 where the metrics of that process could be read the last time.',
    labels: ['target', 'role'],
  },
  helixflow_monitor_round_seconds: {
    type: 'histogram',
    help: 'How long it took to read all processes and to judge what they say.',
    labels: [],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
  },
  helixflow_component_healthy: {
    type: 'gauge',
    help: '1 while components of this kind are well, 0.5 where one has a lesser trouble, 0 where one does not work.',
    labels: ['kind'],
  },
  helixflow_alerts: {
    type: 'gauge',
    help: 'Alerts by name and state.',
    labels: ['alert', 'state'],
  },
  helixflow_notifications_total: {
    type: 'counter',
    help: 'Notifications by receiver and what became of them.',
    labels: ['receiver', 'outcome'],
  },
  helixflow_history_points_total: {
    type: 'counter',
    help: 'Points of history that were written, by resolution.',
    labels: ['resolution'],
  },
  helixflow_history_failures_total: {
    type: 'counter',
    help: 'Rounds of history that the database did not take.',
    labels: [],
  },
} as const satisfies Record<string, MetricDeclaration>

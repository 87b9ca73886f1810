import type { AlertRule } from '../rule.ts'
import { above, below, MINUTE_MS, share } from '../rule-parts.ts'

const QUARTER_MS = 15 * MINUTE_MS

/** Processes of the platform, and whether they can be watched at all. */
export const SERVICE_RULES: readonly AlertRule[] = [
  {
    name: 'ServiceDown',
    severity: 'critical',
    condition: below(
      { kind: 'gauge', combine: 'max', metric: 'helixflow_target_up', by: ['role', 'target'] },
      1,
    ),
    forMs: MINUTE_MS,
    summary: 'The {role} at {target} does not tell its metrics.',
    meaning: 'It is down, held up, or cut off: what it does is not done, or nobody can see it.',
    action: 'See whether its process runs and its machine is reached.',
    explains: [{ alerts: ['NoPoolLeader'] }],
  },
  {
    name: 'MonitorAbsent',
    severity: 'critical',
    condition: { kind: 'absent', metric: 'helixflow_target_up' },
    forMs: 5 * MINUTE_MS,
    summary: 'No monitor says what it sees.',
    meaning: 'Nobody is told of anything but by Prometheus. Requests are not touched by it.',
    action: 'Start helixflow monitor, or see whether its metrics are scraped.',
  },
  {
    name: 'EventLoopSlow',
    severity: 'warning',
    condition: above(
      {
        kind: 'over',
        extreme: 'avg',
        combine: 'max',
        metric: 'helixflow_event_loop_lag_seconds',
        windowMs: 5 * MINUTE_MS,
        where: { quantile: '0.99' },
        by: ['instance', 'role'],
      },
      0.2,
    ),
    forMs: 5 * MINUTE_MS,
    summary: 'The event loop of the {role} at {instance} is {value duration} late at times.',
    meaning: 'All of its requests and streams stutter.',
    action: 'See whether the machine is short of CPU; add gateways if it is the gateway that is.',
  },
  {
    name: 'ProcessMemoryHigh',
    severity: 'warning',
    condition: above(
      {
        kind: 'gauge',
        combine: 'max',
        metric: 'process_resident_memory_bytes',
        by: ['instance', 'role'],
      },
      3 * 1024 ** 3,
    ),
    forMs: QUARTER_MS,
    summary: 'The {role} at {instance} takes {value bytes} of memory.',
    meaning: 'It should never need so much; when memory runs out it is ended with all of its streams.',
    action: 'See how many connections and streams it has; start it anew at a quiet moment and report it.',
  },
  {
    name: 'FilesShort',
    severity: 'warning',
    condition: above(
      share(
        { kind: 'gauge', combine: 'max', metric: 'process_open_fds', by: ['instance', 'role'] },
        { kind: 'gauge', combine: 'max', metric: 'process_max_fds', by: ['instance', 'role'] },
      ),
      0.85,
    ),
    forMs: 5 * MINUTE_MS,
    summary: 'The {role} at {instance} has {value percent} of the open files that it may have.',
    meaning: 'At the end of it no new connection is taken.',
    action: 'Raise the limit of open files (ulimit -n), or add gateways.',
  },
  {
    name: 'MetricOverflow',
    severity: 'info',
    condition: above(
      {
        kind: 'increase',
        metric: 'helixflow_metric_overflow_total',
        windowMs: QUARTER_MS,
        by: ['metric'],
      },
      0,
    ),
    forMs: 0,
    summary: 'The metric {metric} has more series than are kept apart.',
    meaning: 'New ones are counted together as "other": charts by their labels miss some.',
    action: 'See which label has so many values; nothing is lost in the sums.',
  },
  {
    name: 'LogLinesDropped',
    severity: 'warning',
    condition: above(
      {
        kind: 'increase',
        metric: 'helixflow_log_dropped_total',
        windowMs: QUARTER_MS,
        by: ['instance', 'role'],
      },
      0.5,
    ),
    forMs: 0,
    summary: 'The {role} at {instance} lost {value} lines of its log.',
    meaning: 'What happened in that time cannot be read there any more. Requests were not held up by it.',
    action: 'See whether the disk of the log is full, or whoever reads it is too slow.',
  },
  {
    name: 'SpansDropped',
    severity: 'info',
    condition: above(
      {
        kind: 'increase',
        metric: 'helixflow_trace_spans_dropped_total',
        windowMs: QUARTER_MS,
        by: ['instance', 'role'],
      },
      0.5,
    ),
    forMs: QUARTER_MS,
    summary: 'The {role} at {instance} lost {value} spans of traces.',
    meaning: 'Traces have holes. Requests were not held up by it.',
    action: 'See whether the collector of traces answers, or sample fewer traces.',
  },
  {
    name: 'NotificationsFailing',
    severity: 'warning',
    condition: above(
      {
        kind: 'increase',
        metric: 'helixflow_notifications_total',
        windowMs: QUARTER_MS,
        where: { outcome: ['refused', 'expired', 'dropped', 'retried'] },
        by: ['receiver'],
      },
      2,
    ),
    forMs: 5 * MINUTE_MS,
    summary: 'The receiver {receiver} did not take notifications: about {value} tries failed.',
    meaning: 'Whoever reads there is not told of alerts.',
    action: 'Send it a test notification and read what it says.',
  },
  {
    name: 'HistoryNotWritten',
    severity: 'warning',
    condition: above(
      { kind: 'increase', metric: 'helixflow_history_failures_total', windowMs: QUARTER_MS },
      3,
    ),
    forMs: 5 * MINUTE_MS,
    summary: 'The history of key figures was not written {value} times in a quarter of an hour.',
    meaning: 'Charts get a hole once what waits in memory has no more room.',
    action: 'See whether the database answers and has room.',
  },
]

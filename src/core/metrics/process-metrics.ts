import type { MetricDeclaration } from './declaration.ts'

/** What every process of the platform tells of itself. Names without our prefix are those that tools for Prometheus know. */
export const PROCESS_METRICS = {
  helixflow_build_info: {
    type: 'gauge',
    help: '1; what runs here.',
    labels: ['version', 'role', 'node'],
  },
  helixflow_event_loop_lag_seconds: {
    type: 'gauge',
    help: 'How late the event loop was over the last seconds: in half of the cases at most so much, in 99 of 100, in all.',
    labels: ['share'],
  },
  helixflow_disk_free_bytes: {
    type: 'gauge',
    help: 'Room on the disk of a folder of ours.',
    labels: ['place'],
  },
  helixflow_disk_total_bytes: {
    type: 'gauge',
    help: 'Size of the disk of a folder of ours.',
    labels: ['place'],
  },
  helixflow_certificate_expiry_timestamp_seconds: {
    type: 'gauge',
    help: 'When a certificate ends that this process shows or trusts.',
    labels: ['certificate'],
  },
  helixflow_log_dropped_total: {
    type: 'counter',
    help: 'Lines of the log that nobody took in time.',
    labels: [],
  },
  helixflow_trace_spans_dropped_total: {
    type: 'counter',
    help: 'Spans that the collector of traces did not take.',
    labels: [],
  },
  helixflow_metric_series: {
    type: 'gauge',
    help: 'Series that this process exports.',
    labels: [],
  },
  helixflow_metric_overflow_total: {
    type: 'counter',
    help: 'Values that went to a series of others, because their metric has too many.',
    labels: ['metric'],
  },
  process_cpu_seconds_total: {
    type: 'counter',
    help: 'CPU time that this process took.',
    labels: [],
  },
  process_resident_memory_bytes: {
    type: 'gauge',
    help: 'Memory that this process has in RAM.',
    labels: [],
  },
  process_start_time_seconds: {
    type: 'gauge',
    help: 'When this process began.',
    labels: [],
  },
  process_open_fds: {
    type: 'gauge',
    help: 'Open files and sockets.',
    labels: [],
  },
  process_max_fds: {
    type: 'gauge',
    help: 'Most files and sockets that may be open.',
    labels: [],
  },
  nodejs_heap_size_used_bytes: {
    type: 'gauge',
    help: 'JavaScript heap in use.',
    labels: [],
  },
  nodejs_heap_size_total_bytes: {
    type: 'gauge',
    help: 'JavaScript heap in all.',
    labels: [],
  },
  nodejs_external_memory_bytes: {
    type: 'gauge',
    help: 'Memory outside of the heap that belongs to it.',
    labels: [],
  },
  nodejs_gc_duration_seconds: {
    type: 'histogram',
    help: 'How long the collector of garbage held the process up.',
    labels: ['kind'],
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1],
  },
} as const satisfies Record<string, MetricDeclaration>

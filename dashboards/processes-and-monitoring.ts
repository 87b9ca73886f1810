import { badFrom, type Dashboard, type Section, worseAbove, worseBelow } from './panel.ts'
import { age, DAY_MS, gauge, HOUR_MS, increase, observed, quantile, rate, ratio, times } from './queries.ts'
import { yesOrNo } from './words.ts'

const processes: Section = {
  title: 'Processes',
  panels: [
    {
      look: 'table',
      title: 'What runs',
      description:
        'Every process by its role, version and node. Different versions side by side are an upgrade that is not finished.',
      unit: 'short',
      decimals: 0,
      series: [
        {
          query: gauge('max', 'helixflow_build_info', { by: ['instance', 'role', 'version', 'node'] }),
          legend: 'runs',
        },
      ],
    },
    {
      look: 'states',
      title: 'Processes that answer',
      description: 'Whether the monitor could read the metrics of each process.',
      unit: 'none',
      words: yesOrNo('answers', 'away'),
      series: [
        {
          query: gauge('min', 'helixflow_target_up', { by: ['target', 'role'] }),
          legend: '{{role}} {{target}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'CPU',
      description:
        'Cores that each process keeps busy. Work of one is mostly done by one core; engines are not counted here.',
      unit: 'short',
      min: 0,
      series: [
        {
          query: rate('process_cpu_seconds_total', { by: ['instance', 'role'] }),
          legend: '{{role}} {{instance}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Delay of the event loop',
      description:
        'How late a process got to its work, at worst and in 99 of 100 cases. While it is late, everything it does waits.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(0.05, 0.25),
      series: [
        {
          query: gauge('max', 'helixflow_event_loop_lag_seconds', { by: ['instance', 'share'] }),
          legend: '{{instance}} {{share}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Memory',
      description: 'What each process has in RAM.',
      unit: 'bytes',
      min: 0,
      series: [
        {
          query: gauge('sum', 'process_resident_memory_bytes', { by: ['instance', 'role'] }),
          legend: '{{role}} {{instance}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'JavaScript heap',
      description:
        'Heap in use, heap in all, and memory outside of it such as buffers. A heap in use that only ever grows is a leak.',
      unit: 'bytes',
      min: 0,
      series: [
        {
          query: gauge('sum', 'nodejs_heap_size_used_bytes', { by: ['instance'] }),
          legend: '{{instance}} in use',
        },
        {
          query: gauge('sum', 'nodejs_heap_size_total_bytes', { by: ['instance'] }),
          legend: '{{instance}} in all',
        },
        {
          query: gauge('sum', 'nodejs_external_memory_bytes', { by: ['instance'] }),
          legend: '{{instance}} outside',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Pauses for garbage',
      description:
        'How long the collector of garbage held a process up, by kind: 99 of 100 pauses were at most so long.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(0.05, 0.25),
      series: [{ query: quantile(0.99, 'nodejs_gc_duration_seconds', { by: ['kind'] }), legend: '{{kind}}' }],
    },
    {
      look: 'lines',
      title: 'Open files and sockets',
      description:
        'Share of the files and sockets that a process may open which are open. At 100 % it takes no more connections.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      thresholds: worseAbove(0.7, 0.9),
      series: [
        {
          query: ratio(
            gauge('sum', 'process_open_fds', { by: ['instance'] }),
            gauge('sum', 'process_max_fds', { by: ['instance'] }),
          ),
          legend: '{{instance}}',
        },
      ],
    },
    {
      look: 'bars',
      title: 'Running for',
      description: 'How long each process has run. One that is younger than it should be was started again.',
      unit: 's',
      min: 0,
      series: [
        {
          query: age('max', 'process_start_time_seconds', { by: ['instance', 'role'] }),
          legend: '{{role}} {{instance}}',
        },
      ],
    },
  ],
}

const machine: Section = {
  title: 'Disks and certificates',
  panels: [
    {
      look: 'lines',
      title: 'Free disk space',
      description: 'Bytes that are free on the disk of each folder of ours.',
      unit: 'bytes',
      min: 0,
      width: 12,
      series: [
        {
          query: gauge('min', 'helixflow_disk_free_bytes', { by: ['instance', 'place'] }),
          legend: '{{place}} {{instance}}',
        },
      ],
    },
    {
      look: 'bars',
      title: 'Days until certificates end',
      description:
        'Files are read again when they change; renew them in time and nothing has to be restarted for it to show here.',
      unit: 'short',
      decimals: 0,
      width: 12,
      empty: 'no certificates',
      thresholds: worseBelow(3, 14),
      series: [
        {
          query: times(
            age('max', 'helixflow_certificate_expiry_timestamp_seconds', { by: ['certificate', 'instance'] }),
            -1 / 86_400,
          ),
          legend: '{{certificate}} {{instance}}',
        },
      ],
    },
  ],
}

const monitoring: Section = {
  title: 'The monitoring itself',
  panels: [
    {
      look: 'lines',
      title: 'Time of a round',
      description:
        'How long it took to read all processes and to judge what they say, and how many rounds there are a second.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(1, 5),
      series: [
        { query: quantile(0.99, 'helixflow_monitor_round_seconds'), legend: '99 %' },
        { query: observed('helixflow_monitor_round_seconds'), legend: 'rounds a second' },
      ],
    },
    {
      look: 'stack',
      title: 'Notifications in an hour',
      description: 'What became of notifications, by receiver.',
      unit: 'short',
      min: 0,
      empty: 'none',
      series: [
        {
          query: increase(HOUR_MS, 'helixflow_notifications_total', { by: ['receiver', 'outcome'] }),
          legend: '{{receiver}} {{outcome}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'History that is written',
      description: 'Points a second by resolution, and rounds a second that the database did not take.',
      unit: 'ops',
      min: 0,
      series: [
        { query: rate('helixflow_history_points_total', { by: ['resolution'] }), legend: '{{resolution}}' },
        { query: rate('helixflow_history_failures_total'), legend: 'not taken' },
      ],
    },
    {
      look: 'lines',
      title: 'Series',
      description:
        'Series that each process exports. The names of models, rules and projects are bounded; 10,000 would be too many.',
      unit: 'short',
      decimals: 0,
      min: 0,
      thresholds: worseAbove(5_000, 10_000),
      series: [
        { query: gauge('sum', 'helixflow_metric_series', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Values without a series of their own',
      description:
        'Values a second that were added to a series of others, because their metric has too many.',
      unit: 'ops',
      min: 0,
      empty: 'none',
      thresholds: badFrom(0.01),
      series: [{ query: rate('helixflow_metric_overflow_total', { by: ['metric'] }), legend: '{{metric}}' }],
    },
    {
      look: 'lines',
      title: 'Lost lines and spans, in a day',
      description:
        'Lines of the log and spans of traces that nobody took in time. Requests never wait for either.',
      unit: 'short',
      min: 0,
      thresholds: badFrom(1),
      series: [
        { query: increase(DAY_MS, 'helixflow_log_dropped_total'), legend: 'lines of the log' },
        { query: increase(DAY_MS, 'helixflow_trace_spans_dropped_total'), legend: 'spans' },
      ],
    },
  ],
}

export const processesAndMonitoring: Dashboard = {
  uid: 'helixflow-processes',
  title: 'HelixFlow: processes and monitoring',
  description: 'What every process takes, disks, certificates, and how well the monitoring itself works.',
  variables: ['role', 'instance'],
  sections: [processes, machine, monitoring],
}

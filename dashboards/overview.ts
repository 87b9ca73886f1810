import { badFrom, type Dashboard, type Section, worseAbove, worseBelow } from './panel.ts'
import { gauge, observed, quantile, rate, ratio, share, times } from './queries.ts'
import { HEALTH } from './words.ts'

const state: Section = {
  title: 'Is all well?',
  panels: [
    {
      look: 'number',
      title: 'Worst part',
      description:
        'The health of whatever is worst: services, nodes, devices, engines, models, database, Redis, disks, certificates, backups. What is wrong with it, and what to do, says `helixflow doctor`.',
      unit: 'none',
      words: HEALTH,
      series: [{ query: gauge('min', 'helixflow_component_healthy'), legend: 'worst part' }],
    },
    {
      look: 'number',
      title: 'Alerts that fire',
      description:
        'How many alerts fire now, silenced ones too. `helixflow alerts` lists them with what to do.',
      unit: 'short',
      decimals: 0,
      empty: '0',
      thresholds: badFrom(1),
      series: [{ query: gauge('sum', 'helixflow_alerts', { where: { state: 'firing' } }), legend: 'firing' }],
    },
    {
      look: 'number',
      title: 'Processes that answer',
      description:
        'Share of the processes of the platform whose metrics could be read. Below 100 % one is down, or cut off from the monitor.',
      unit: 'percentunit',
      thresholds: worseBelow(0.5, 1),
      series: [{ query: gauge('avg', 'helixflow_target_up'), legend: 'answer' }],
    },
    {
      look: 'number',
      title: 'Requests that failed',
      description:
        'Share of requests that were answered with a status of 500 or above: our fault, not that of their callers.',
      unit: 'percentunit',
      decimals: 2,
      empty: '0 %',
      thresholds: worseAbove(0.005, 0.05),
      series: [
        {
          query: share(
            rate('helixflow_requests_total', { where: { status: /5../ } }),
            rate('helixflow_requests_total'),
          ),
          legend: 'failed',
        },
      ],
    },
    {
      look: 'number',
      title: 'First token (95 %)',
      description: 'Of 100 streamed answers, 95 began within this time.',
      unit: 's',
      empty: 'no streams',
      thresholds: worseAbove(1, 2),
      series: [{ query: quantile(0.95, 'helixflow_time_to_first_token_seconds'), legend: '95 %' }],
    },
    {
      look: 'number',
      title: 'Cost per hour',
      description: 'What the requests of now cost in an hour by the price list; 0 where no prices are set.',
      unit: 'short',
      decimals: 2,
      empty: '0',
      series: [{ query: times(rate('helixflow_cost_total'), 3600), legend: 'an hour' }],
    },
  ],
}

const requests: Section = {
  title: 'Requests',
  panels: [
    {
      look: 'stack',
      title: 'Requests by status',
      description:
        'Requests a second by HTTP status. 499 is a client that left, 429 a limit, 500 and above is trouble of ours.',
      unit: 'reqps',
      min: 0,
      series: [{ query: rate('helixflow_requests_total', { by: ['status'] }), legend: '{{status}}' }],
    },
    {
      look: 'stack',
      title: 'Failures by code',
      description:
        'Failed requests a second by the code that their callers were told; the table of codes is in ARCHITECTURE.md.',
      unit: 'reqps',
      min: 0,
      empty: 'none failed',
      series: [{ query: rate('helixflow_request_errors_total', { by: ['code'] }), legend: '{{code}}' }],
    },
    {
      look: 'lines',
      title: 'In flight and waiting',
      description:
        'Requests that are being worked on, and those of them that wait for a free slot or for their model. A queue that keeps growing needs replicas or limits.',
      unit: 'short',
      min: 0,
      whole: true,
      series: [
        { query: gauge('sum', 'helixflow_requests_in_flight'), legend: 'in flight' },
        { query: gauge('sum', 'helixflow_queue_depth'), legend: 'waiting' },
      ],
    },
    {
      look: 'lines',
      title: 'Time of whole requests',
      description:
        'From the arrival of a generation to its last byte: half, 95 and 99 of 100 took at most so long.',
      unit: 's',
      min: 0,
      series: [
        { query: quantile(0.5, 'helixflow_request_duration_seconds'), legend: '50 %' },
        { query: quantile(0.95, 'helixflow_request_duration_seconds'), legend: '95 %' },
        { query: quantile(0.99, 'helixflow_request_duration_seconds'), legend: '99 %' },
      ],
    },
    {
      look: 'lines',
      title: 'Time to the first token',
      description:
        'How long streamed answers took to begin. The promise is 2 s for 95 of 100; look at the queue first when it is broken.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(1, 2),
      series: [
        { query: quantile(0.5, 'helixflow_time_to_first_token_seconds'), legend: '50 %' },
        { query: quantile(0.95, 'helixflow_time_to_first_token_seconds'), legend: '95 %' },
      ],
    },
    {
      look: 'lines',
      title: 'Time between tokens',
      description:
        'How long each token took after the first. It grows where too many requests share a device; people read at about 0.1 s.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(0.1, 0.2),
      series: [
        { query: quantile(0.5, 'helixflow_time_per_output_token_seconds'), legend: '50 %' },
        { query: quantile(0.95, 'helixflow_time_per_output_token_seconds'), legend: '95 %' },
      ],
    },
    {
      look: 'lines',
      title: 'Tokens a second',
      description: 'Tokens read (prompt), of these found in the KV cache (cached), and made (completion).',
      unit: 'cps',
      min: 0,
      series: [{ query: rate('helixflow_tokens_total', { by: ['direction'] }), legend: '{{direction}}' }],
    },
    {
      look: 'lines',
      title: 'Wait for a slot',
      description:
        'How long requests waited for a slot of their model, or for the model itself, before an engine saw them.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(1, 10),
      series: [
        { query: quantile(0.5, 'helixflow_queue_wait_seconds'), legend: '50 %' },
        { query: quantile(0.95, 'helixflow_queue_wait_seconds'), legend: '95 %' },
      ],
    },
    {
      look: 'lines',
      title: 'Answers from the cache',
      description:
        'Share of look-ups in the response cache that found an answer, or joined one that was being made.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      series: [
        {
          query: share(
            rate('helixflow_cache_requests_total', {
              where: { layer: 'memory', outcome: ['hit', 'stale', 'coalesced'] },
            }),
            rate('helixflow_cache_requests_total', { where: { layer: 'memory' } }),
          ),
          legend: 'from memory, or shared',
        },
      ],
    },
  ],
}

const machines: Section = {
  title: 'Models and machines',
  panels: [
    {
      look: 'stack',
      title: 'Instances of models by state',
      description: 'Model instances that load, are ready, finish their last requests or unload.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [{ query: gauge('sum', 'helixflow_model_instances', { by: ['state'] }), legend: '{{state}}' }],
    },
    {
      look: 'lines',
      title: 'Memory of devices in use',
      description:
        'Share of a device’s memory that models or foreign processes take. Full is fine, as long as no model waits for room.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      series: [
        {
          query: ratio(
            gauge('sum', 'helixflow_device_memory_bytes', {
              where: { kind: ['models', 'foreign'] },
              by: ['device'],
            }),
            gauge('sum', 'helixflow_device_memory_bytes', { where: { kind: 'total' }, by: ['device'] }),
          ),
          legend: '{{device}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'How busy devices are',
      description:
        'Share of the time in which a device computed, as it says itself. The machine’s own memory says nothing of that.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      empty: 'no device says',
      series: [
        {
          query: gauge('max', 'helixflow_device_utilization_ratio', { by: ['device'] }),
          legend: '{{device}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Sockets and streams',
      description: 'Open WebSockets, generations that are made as streams, and readers of streams.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [
        { query: gauge('sum', 'helixflow_ws_connections'), legend: 'WebSockets' },
        { query: gauge('sum', 'helixflow_streams', { by: ['state'] }), legend: 'streams {{state}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Statements of the database',
      description:
        'Statements a second, and below them those that failed. The database dashboard tells which ones, and how long they took.',
      unit: 'ops',
      min: 0,
      series: [
        { query: observed('helixflow_db_query_seconds'), legend: 'statements' },
        { query: rate('helixflow_db_failures_total'), legend: 'failed' },
      ],
    },
    {
      look: 'lines',
      title: 'Free disk space',
      description: 'Share of the disk of each folder of ours that is free. Below a tenth it is time to act.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      thresholds: worseBelow(0.05, 0.1),
      series: [
        {
          query: ratio(
            gauge('min', 'helixflow_disk_free_bytes', { by: ['instance', 'place'] }),
            gauge('min', 'helixflow_disk_total_bytes', { by: ['instance', 'place'] }),
          ),
          legend: '{{place}} {{instance}}',
        },
      ],
    },
    {
      look: 'states',
      title: 'Health by kind of part',
      description: 'When parts of each kind were well, had a lesser trouble, or did not work.',
      unit: 'none',
      words: HEALTH,
      series: [{ query: gauge('min', 'helixflow_component_healthy', { by: ['kind'] }), legend: '{{kind}}' }],
    },
    {
      look: 'table',
      title: 'Alerts now',
      description: 'What fires and what is about to. Each alert has a page in docs/runbooks.',
      unit: 'short',
      decimals: 0,
      empty: 'none',
      series: [
        {
          query: gauge('sum', 'helixflow_alerts', {
            where: { state: ['firing', 'pending'] },
            by: ['alert', 'state'],
          }),
          legend: 'series',
        },
      ],
    },
  ],
}

export const overview: Dashboard = {
  uid: 'helixflow-overview',
  title: 'HelixFlow: overview',
  description: 'Whether the platform is well, what is asked of it, and how fast it answers.',
  variables: ['model'],
  sections: [state, requests, machines],
}

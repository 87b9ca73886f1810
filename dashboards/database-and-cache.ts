import { badFrom, type Dashboard, type Section, worseAbove } from './panel.ts'
import { age, DAY_MS, gauge, HOUR_MS, increase, observed, quantile, rate, ratio, share } from './queries.ts'
import { yesOrNo } from './words.ts'

const database: Section = {
  title: 'Database',
  panels: [
    {
      look: 'states',
      title: 'Database',
      description: 'When the database answered each process that needs it.',
      unit: 'none',
      words: yesOrNo('answers', 'away'),
      series: [{ query: gauge('min', 'helixflow_db_up', { by: ['instance'] }), legend: '{{instance}}' }],
    },
    {
      look: 'stack',
      title: 'Connections',
      description: 'Connections that work or are idle, and statements that wait for one.',
      unit: 'short',
      decimals: 0,
      min: 0,
      width: 12,
      series: [
        { query: gauge('sum', 'helixflow_db_pool_connections', { by: ['state'] }), legend: '{{state}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Connections in use',
      description:
        'Share of the connections that a process may open which work. At 100 % statements wait, and after 50 ms they fail.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      thresholds: worseAbove(0.8, 1),
      series: [
        {
          query: ratio(
            gauge('sum', 'helixflow_db_pool_connections', { where: { state: 'busy' }, by: ['instance'] }),
            gauge('sum', 'helixflow_db_pool_connections_max', { by: ['instance'] }),
          ),
          legend: '{{instance}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Wait for a connection',
      description: 'How long statements waited for a connection: 50 and 99 of 100 at most so long.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(0.01, 0.05),
      series: [
        { query: quantile(0.5, 'helixflow_db_acquire_seconds'), legend: '50 %' },
        { query: quantile(0.99, 'helixflow_db_acquire_seconds'), legend: '99 %' },
      ],
    },
    {
      look: 'lines',
      title: 'Time of statements',
      description:
        '95 of 100 statements took at most so long, by what they do. `helixflow db queries` has the slowest by their text.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(0.1, 0.5),
      series: [
        { query: quantile(0.95, 'helixflow_db_query_seconds', { by: ['query'] }), legend: '{{query}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Statements a second',
      description: 'How often each statement runs.',
      unit: 'ops',
      min: 0,
      series: [{ query: observed('helixflow_db_query_seconds', { by: ['query'] }), legend: '{{query}}' }],
    },
    {
      look: 'stack',
      title: 'Failures, by code',
      description: 'Statements a second that failed.',
      unit: 'ops',
      min: 0,
      empty: 'none failed',
      series: [{ query: rate('helixflow_db_failures_total', { by: ['code'] }), legend: '{{code}}' }],
    },
    {
      look: 'lines',
      title: 'Transactions that ran again',
      description:
        'Transactions a second that lost against others and ran again. A steady stream means that many change the same rows.',
      unit: 'ops',
      min: 0,
      series: [{ query: rate('helixflow_db_retries_total'), legend: 'again' }],
    },
    {
      look: 'lines',
      title: 'Size on disk',
      description: 'Size of the database. What grows are records of requests; `usage.retention` bounds them.',
      unit: 'bytes',
      min: 0,
      series: [{ query: gauge('max', 'helixflow_db_size_bytes'), legend: 'database' }],
    },
  ],
}

const beside: Section = {
  title: 'Replicas, Redis and backups',
  panels: [
    {
      look: 'lines',
      title: 'Lag of replicas',
      description:
        'By how many bytes of the log a replica is behind. One that is too far behind is not read from.',
      unit: 'bytes',
      min: 0,
      empty: 'no replicas',
      thresholds: worseAbove(16 * 1024 ** 2, 256 * 1024 ** 2),
      series: [
        { query: gauge('max', 'helixflow_db_replica_lag_bytes', { by: ['replica'] }), legend: '{{replica}}' },
      ],
    },
    {
      look: 'states',
      title: 'Replicas',
      description: 'When each replica answered.',
      unit: 'none',
      width: 8,
      empty: 'no replicas',
      words: yesOrNo('answers', 'away'),
      series: [
        { query: gauge('min', 'helixflow_db_replica_up', { by: ['replica'] }), legend: '{{replica}}' },
      ],
    },
    {
      look: 'states',
      title: 'Redis',
      description:
        'When Redis answered. Without it limits go by shares, and the cache by what each gateway has.',
      unit: 'none',
      width: 8,
      empty: 'no Redis',
      words: yesOrNo('answers', 'away'),
      series: [{ query: gauge('min', 'helixflow_redis_up', { by: ['instance'] }), legend: '{{instance}}' }],
    },
    {
      look: 'lines',
      title: 'New connections to Redis, in an hour',
      description: 'How often the connection had to be made anew.',
      unit: 'short',
      min: 0,
      series: [
        {
          query: increase(HOUR_MS, 'helixflow_redis_reconnects_total', { by: ['instance'] }),
          legend: '{{instance}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Age of the newest backup',
      description:
        'Beside the time from one backup to the next, as the settings have it (0: only when asked for). Without any backup it is as old as 1970.',
      unit: 's',
      min: 0,
      series: [
        { query: age('min', 'helixflow_backup_last_success_timestamp_seconds'), legend: 'age' },
        { query: gauge('max', 'helixflow_backup_expected_interval_seconds'), legend: 'from one to the next' },
      ],
    },
    {
      look: 'number',
      title: 'Backups that failed in a day',
      description: 'Backups that were not finished, or did not pass their examination.',
      unit: 'short',
      decimals: 0,
      width: 8,
      height: 8,
      thresholds: badFrom(1),
      series: [{ query: increase(DAY_MS, 'helixflow_backup_failures_total'), legend: 'failed' }],
    },
  ],
}

const cache: Section = {
  title: 'Response cache',
  panels: [
    {
      look: 'stack',
      title: 'Look-ups by outcome',
      description:
        'Requests a second by what the cache could do for them: bypass is one that must not be kept, coalesced one that joined another.',
      unit: 'reqps',
      min: 0,
      series: [
        {
          query: rate('helixflow_cache_requests_total', { by: ['layer', 'outcome'] }),
          legend: '{{layer}} {{outcome}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Hits by layer',
      description:
        'Share of the look-ups in each layer that found an answer. A sudden fall is a new prompt, a new model, or a lost Redis.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      series: [
        {
          query: share(
            rate('helixflow_cache_requests_total', { where: { outcome: ['hit', 'stale'] }, by: ['layer'] }),
            rate('helixflow_cache_requests_total', { by: ['layer'] }),
          ),
          legend: '{{layer}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Memory of the cache',
      description: 'Bytes of answers in the memory of each gateway; `cache.memory` bounds them.',
      unit: 'bytes',
      min: 0,
      series: [
        { query: gauge('sum', 'helixflow_cache_bytes', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Answers in memory',
      description: 'How many answers each gateway keeps.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [
        { query: gauge('sum', 'helixflow_cache_entries', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Prompt tokens from the KV cache',
      description: 'Share of prompt tokens that engines had read before, and did not read again.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      series: [
        {
          query: share(
            rate('helixflow_tokens_total', { where: { direction: 'cached' }, by: ['model'] }),
            rate('helixflow_tokens_total', { where: { direction: 'prompt' }, by: ['model'] }),
          ),
          legend: '{{model}}',
        },
      ],
    },
  ],
}

export const databaseAndCache: Dashboard = {
  uid: 'helixflow-database',
  title: 'HelixFlow: database and cache',
  description: 'PostgreSQL, its replicas and backups, Redis, and the response cache.',
  variables: ['role', 'instance'],
  sections: [database, beside, cache],
}

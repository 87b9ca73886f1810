import { type Dashboard, type Section, worseAbove } from './panel.ts'
import { DAY_MS, gauge, increase, rate, ratio, share, times } from './queries.ts'

const day: Section = {
  title: 'The last 24 hours',
  panels: [
    {
      look: 'number',
      title: 'Cost',
      description: 'What the requests of 24 hours cost by the price list; 0 where no prices are set.',
      unit: 'short',
      decimals: 2,
      empty: '0',
      series: [{ query: increase(DAY_MS, 'helixflow_cost_total'), legend: 'cost' }],
    },
    {
      look: 'number',
      title: 'Requests',
      description: 'Requests of 24 hours, whatever became of them.',
      unit: 'short',
      decimals: 0,
      series: [{ query: increase(DAY_MS, 'helixflow_requests_total'), legend: 'requests' }],
    },
    {
      look: 'number',
      title: 'Tokens made',
      description: 'Completion tokens of 24 hours.',
      unit: 'short',
      series: [
        {
          query: increase(DAY_MS, 'helixflow_tokens_total', { where: { direction: 'completion' } }),
          legend: 'tokens',
        },
      ],
    },
    {
      look: 'number',
      title: 'Tokens read',
      description: 'Prompt tokens of 24 hours.',
      unit: 'short',
      series: [
        {
          query: increase(DAY_MS, 'helixflow_tokens_total', { where: { direction: 'prompt' } }),
          legend: 'tokens',
        },
      ],
    },
    {
      look: 'number',
      title: 'Cost of a million tokens',
      description: 'Cost of 24 hours, for each million of tokens that were made.',
      unit: 'short',
      decimals: 2,
      empty: '-',
      whole: true,
      series: [
        {
          query: times(
            ratio(
              increase(DAY_MS, 'helixflow_cost_total'),
              increase(DAY_MS, 'helixflow_tokens_total', { where: { direction: 'completion' } }),
            ),
            1_000_000,
          ),
          legend: 'a million tokens',
        },
      ],
    },
    {
      look: 'number',
      title: 'Answers that cost nothing',
      description:
        'Share of 24 hours of cacheable requests that were answered from the cache, or shared another one’s answer.',
      unit: 'percentunit',
      empty: '0 %',
      series: [
        {
          query: share(
            increase(DAY_MS, 'helixflow_cache_requests_total', {
              where: { layer: 'memory', outcome: ['hit', 'stale', 'coalesced'] },
            }),
            increase(DAY_MS, 'helixflow_cache_requests_total', {
              where: { layer: 'memory', outcome: ['hit', 'stale', 'coalesced', 'miss'] },
            }),
          ),
          legend: 'from the cache',
        },
      ],
    },
  ],
}

const course: Section = {
  title: 'How it goes',
  panels: [
    {
      look: 'stack',
      title: 'Cost per hour, by project',
      description:
        'For the projects with the greatest sums, and all others together. Who they are, and percentiles and active users of each, says `helixflow kpis`.',
      unit: 'short',
      min: 0,
      empty: 'no prices are set',
      width: 12,
      series: [
        { query: times(rate('helixflow_cost_total', { by: ['project'] }), 3600), legend: '{{project}}' },
      ],
    },
    {
      look: 'stack',
      title: 'Tokens a second, by model',
      description: 'Prompt and completion tokens of each model.',
      unit: 'cps',
      min: 0,
      width: 12,
      series: [
        {
          query: rate('helixflow_tokens_total', {
            where: { direction: ['prompt', 'completion'] },
            by: ['model', 'direction'],
          }),
          legend: '{{model}} {{direction}}',
        },
      ],
    },
    {
      look: 'bars',
      title: 'Budgets in use',
      description:
        'Of budgets of which at least half is used, the share that is, by the rule that sets them; `helixflow limits` tells whose. At 100 % requests are refused.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      empty: 'none is half used',
      thresholds: worseAbove(0.8, 1),
      series: [{ query: gauge('max', 'helixflow_budget_used_ratio', { by: ['rule'] }), legend: '{{rule}}' }],
    },
    {
      look: 'bars',
      title: 'Requests of 24 hours, by model',
      description: 'Which models are asked for.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [
        { query: increase(DAY_MS, 'helixflow_requests_total', { by: ['model'] }), legend: '{{model}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Failed requests of 24 hours',
      description:
        'Share of the requests of the 24 hours before each moment that were answered with a status of 500 or above. The promise is at most 0.5 %.',
      unit: 'percentunit',
      min: 0,
      empty: 'none failed',
      thresholds: worseAbove(0.0025, 0.005),
      series: [
        {
          query: share(
            increase(DAY_MS, 'helixflow_requests_total', { where: { status: /5../ } }),
            increase(DAY_MS, 'helixflow_requests_total'),
          ),
          legend: 'failed',
        },
      ],
    },
  ],
}

export const business: Dashboard = {
  uid: 'helixflow-business',
  title: 'HelixFlow: business',
  description: 'What it costs, who uses it, and how much of the promises was kept.',
  variables: ['model', 'project'],
  sections: [day, course],
}

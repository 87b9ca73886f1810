import { type Section, worseAbove, worseBelow } from './panel.ts'
import { gauge, HOUR_MS, increase, observed, quantile } from './queries.ts'

export const scheduler: Section = {
  title: 'Scheduler',
  panels: [
    {
      look: 'stack',
      title: 'Placements in an hour',
      description:
        'Models that were to be placed, by strategy and by what came of it: placed, waits for room, refused.',
      unit: 'short',
      min: 0,
      series: [
        {
          query: increase(HOUR_MS, 'helixflow_placement_total', { by: ['strategy', 'outcome'] }),
          legend: '{{strategy}} {{outcome}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Models loaded ahead',
      description:
        'Of the latest models that were loaded before they were asked for, the share that was then asked for in time; and whether loading ahead is on. It stops by itself below one half.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      series: [
        { query: gauge('min', 'helixflow_prefetch_precision_ratio'), legend: 'in time' },
        { query: gauge('max', 'helixflow_prefetch_active'), legend: 'on (100 %) or off (0 %)' },
      ],
    },
    {
      look: 'stack',
      title: 'Models loaded ahead, in an hour',
      description: 'How many of them were asked for in time, and how many were not.',
      unit: 'short',
      min: 0,
      empty: 'none',
      series: [
        { query: increase(HOUR_MS, 'helixflow_prefetch_total', { by: ['outcome'] }), legend: '{{outcome}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Scattered memory',
      description:
        'Share of the free memory that the largest model could not use, because it lies on several devices.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      series: [{ query: gauge('max', 'helixflow_fragmentation_ratio'), legend: 'scattered' }],
    },
    {
      look: 'lines',
      title: 'Time of a decision',
      description:
        'How long the scheduler took, by what it decided about: 99 of 100 decisions took at most so long.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(0.005, 0.05),
      series: [{ query: quantile(0.99, 'helixflow_decide_seconds', { by: ['event'] }), legend: '{{event}}' }],
    },
    {
      look: 'lines',
      title: 'Decisions a second',
      description: 'How often the scheduler was asked.',
      unit: 'ops',
      min: 0,
      series: [{ query: observed('helixflow_decide_seconds', { by: ['event'] }), legend: '{{event}}' }],
    },
    {
      look: 'number',
      title: 'Pools that lead',
      description: 'One must lead: no more, no less.',
      unit: 'short',
      decimals: 0,
      width: 6,
      thresholds: [
        ...worseBelow(1, 1).filter(({ colour }) => colour !== 'orange'),
        { from: 2, colour: 'red' },
      ],
      series: [{ query: gauge('sum', 'helixflow_pool_leader'), legend: 'lead' }],
    },
    {
      look: 'lines',
      title: 'Epoch of the leader',
      description:
        'Changes when another pool begins to lead, to the minutes of the clock or one more than before. A few changes in a day are upgrades, many are trouble with the database or the network.',
      unit: 'short',
      decimals: 0,
      width: 18,
      height: 4,
      series: [{ query: gauge('max', 'helixflow_pool_epoch'), legend: 'epoch' }],
    },
  ],
}

import { badFrom, type Dashboard, type Section, worseAbove } from './panel.ts'
import { gauge, HOUR_MS, increase, observed, quantile, rate, share } from './queries.ts'
import { noOrYes } from './words.ts'

const requests: Section = {
  title: 'Requests',
  panels: [
    {
      look: 'stack',
      title: 'Requests by address',
      description: 'Requests a second by the address that they asked for.',
      unit: 'reqps',
      min: 0,
      series: [{ query: rate('helixflow_requests_total', { by: ['route'] }), legend: '{{route}}' }],
    },
    {
      look: 'stack',
      title: 'Requests by model',
      description:
        'Requests a second by the model that they asked for; unknown is a name that is none of ours.',
      unit: 'reqps',
      min: 0,
      series: [{ query: rate('helixflow_requests_total', { by: ['model'] }), legend: '{{model}}' }],
    },
    {
      look: 'lines',
      title: 'Requests by gateway',
      description: 'How even the load is: requests that each gateway works on.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [
        { query: gauge('sum', 'helixflow_requests_in_flight', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Share of failed requests, by address',
      description: 'Share of the requests of an address that were answered with a status of 500 or above.',
      unit: 'percentunit',
      min: 0,
      empty: 'none failed',
      thresholds: worseAbove(0.005, 0.05),
      series: [
        {
          query: share(
            rate('helixflow_requests_total', { where: { status: /5../ }, by: ['route'] }),
            rate('helixflow_requests_total', { by: ['route'] }),
          ),
          legend: '{{route}}',
        },
      ],
    },
    {
      look: 'stack',
      title: 'Credentials',
      description:
        'Keys, tokens and logins that were presented, by kind and outcome. Many refusals are a lost key somewhere, or somebody who guesses.',
      unit: 'ops',
      min: 0,
      series: [
        {
          query: rate('helixflow_auth_attempts_total', { by: ['method', 'outcome'] }),
          legend: '{{method}} {{outcome}}',
        },
      ],
    },
    {
      look: 'states',
      title: 'Gateways that end',
      description: 'A gateway that takes no new requests finishes those that run and then stops.',
      unit: 'none',
      width: 8,
      words: noOrYes('takes requests', 'ends'),
      series: [
        { query: gauge('max', 'helixflow_gateway_draining', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
  ],
}

const limits: Section = {
  title: 'Limits and budgets',
  panels: [
    {
      look: 'stack',
      title: 'Decisions of limits',
      description: 'Requests a second that a limit granted or refused, by how it counts.',
      unit: 'reqps',
      min: 0,
      series: [
        {
          query: rate('helixflow_ratelimit_decisions_total', { by: ['algorithm', 'outcome'] }),
          legend: '{{algorithm}} {{outcome}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Share of refused requests',
      description: 'Of the requests that a limit decided about, the share that was refused.',
      unit: 'percentunit',
      min: 0,
      empty: 'none refused',
      series: [
        {
          query: share(
            rate('helixflow_ratelimit_decisions_total', { where: { outcome: 'refused' } }),
            rate('helixflow_ratelimit_decisions_total'),
          ),
          legend: 'refused',
        },
      ],
    },
    {
      look: 'stack',
      title: 'Where limits are kept',
      description:
        'Decisions a second by the store that made them. While the shared one is away, each gateway keeps its share.',
      unit: 'reqps',
      min: 0,
      series: [
        { query: rate('helixflow_ratelimit_decisions_total', { by: ['store'] }), legend: '{{store}}' },
      ],
    },
    {
      look: 'states',
      title: 'Limits by shares',
      description: 'When limits were kept by shares, because Redis was away: correct, but coarser.',
      unit: 'none',
      width: 8,
      words: noOrYes('shared store', 'by shares'),
      series: [
        {
          query: gauge('max', 'helixflow_ratelimit_fallback_active', { by: ['instance'] }),
          legend: '{{instance}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Outages of the shared store, in an hour',
      description: 'How often the store of limits went away.',
      unit: 'short',
      min: 0,
      thresholds: badFrom(1),
      series: [
        {
          query: increase(HOUR_MS, 'helixflow_ratelimit_fallback_total', { by: ['instance'] }),
          legend: '{{instance}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Delay by limits',
      description:
        'How long requests were delayed instead of refused, by whether they then passed: 95 of 100 waited at most so long.',
      unit: 's',
      min: 0,
      empty: 'none delayed',
      series: [
        {
          query: quantile(0.95, 'helixflow_ratelimit_shaped_seconds', { by: ['outcome'] }),
          legend: '{{outcome}}',
        },
        { query: observed('helixflow_ratelimit_shaped_seconds'), legend: 'delayed requests a second' },
      ],
    },
    {
      look: 'lines',
      title: 'Gateways and reservations',
      description:
        'Gateways that share the limits, as each of them knows, and requests that hold a reservation.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [
        { query: gauge('max', 'helixflow_ratelimit_gateways'), legend: 'gateways' },
        { query: gauge('sum', 'helixflow_ratelimit_reservations'), legend: 'reservations' },
      ],
    },
    {
      look: 'lines',
      title: 'Drift of budgets',
      description:
        'Money by which the counters of idle budgets differ from the records in the database. It is to be 0.',
      unit: 'short',
      thresholds: badFrom(0.01),
      series: [
        { query: gauge('max', 'helixflow_budget_drift', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Coarse sliding windows',
      description:
        'Decisions a second of sliding windows whose log was full, so that entries were gathered: such a limit is kept a little too strictly.',
      unit: 'ops',
      min: 0,
      series: [{ query: rate('helixflow_ratelimit_gathered_total'), legend: 'gathered' }],
    },
  ],
}

const upstreams: Section = {
  title: 'Other people’s servers, and records',
  panels: [
    {
      look: 'stack',
      title: 'Requests to other servers',
      description: 'Requests a second to each server elsewhere, by what came of them.',
      unit: 'reqps',
      min: 0,
      empty: 'no such servers',
      series: [
        {
          query: rate('helixflow_upstream_requests_total', { by: ['replica', 'outcome'] }),
          legend: '{{replica}} {{outcome}}',
        },
      ],
    },
    {
      look: 'states',
      title: 'Servers that are left alone',
      description: 'A server elsewhere that fails is not asked for a while.',
      unit: 'none',
      width: 8,
      empty: 'no such servers',
      words: noOrYes('is asked', 'is left alone'),
      series: [
        {
          query: gauge('max', 'helixflow_upstream_circuit_open', { by: ['replica'] }),
          legend: '{{replica}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Records that wait for the database',
      description:
        'Bytes of records of requests that the database has not taken yet. They survive a crash; when their room is full, requests are refused.',
      unit: 'bytes',
      min: 0,
      series: [
        { query: gauge('sum', 'helixflow_usage_spool_bytes', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
    {
      look: 'states',
      title: 'Room for records',
      description: 'When requests were refused, because their records had no room.',
      unit: 'none',
      words: noOrYes('room', 'full: requests are refused'),
      series: [
        { query: gauge('max', 'helixflow_usage_spool_full', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
  ],
}

export const gatewayAndLimits: Dashboard = {
  uid: 'helixflow-gateway',
  title: 'HelixFlow: gateway and limits',
  description: 'What gateways are asked, whom they refuse and why, and what waits to be recorded.',
  variables: ['instance', 'model'],
  sections: [requests, limits, upstreams],
}

import { type Dashboard, type Section, worseAbove } from './panel.ts'
import { gauge, HOUR_MS, increase, quantile, rate, ratio } from './queries.ts'

const connections: Section = {
  title: 'WebSockets',
  panels: [
    {
      look: 'lines',
      title: 'Open WebSockets',
      description: 'Open connections at each gateway.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [
        { query: gauge('sum', 'helixflow_ws_connections', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
    {
      look: 'stack',
      title: 'Messages that came in',
      description: 'Messages a second from clients, by type.',
      unit: 'ops',
      min: 0,
      series: [
        {
          query: rate('helixflow_ws_messages_total', { where: { direction: 'in' }, by: ['type'] }),
          legend: '{{type}}',
        },
      ],
    },
    {
      look: 'stack',
      title: 'Messages that went out',
      description: 'Messages a second to clients, by type.',
      unit: 'ops',
      min: 0,
      series: [
        {
          query: rate('helixflow_ws_messages_total', { where: { direction: 'out' }, by: ['type'] }),
          legend: '{{type}}',
        },
      ],
    },
    {
      look: 'stack',
      title: 'Closed connections in an hour, by code',
      description:
        'Why WebSockets ended: 1000 and 1001 are farewells, 1006 is an end without one, 1012 a gateway that ends, 4000 and above are ours.',
      unit: 'short',
      min: 0,
      series: [
        { query: increase(HOUR_MS, 'helixflow_ws_closed_total', { by: ['code'] }), legend: '{{code}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Bytes that wait to be sent',
      description: 'Bytes that slow clients have not taken yet. It is bounded for each connection.',
      unit: 'bytes',
      min: 0,
      series: [
        { query: gauge('sum', 'helixflow_ws_buffered_bytes', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
  ],
}

const streams: Section = {
  title: 'Streams',
  panels: [
    {
      look: 'lines',
      title: 'Streams',
      description: 'Generations that are made here as streams, and readers of them over WebSockets.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [{ query: gauge('sum', 'helixflow_streams', { by: ['state'] }), legend: '{{state}}' }],
    },
    {
      look: 'stack',
      title: 'Streams that clients wanted to continue, in an hour',
      description:
        'What came of it when a client came back and asked for the rest. Lost streams mean that too little is kept, or that Redis lost its data.',
      unit: 'short',
      min: 0,
      empty: 'none',
      series: [
        { query: increase(HOUR_MS, 'helixflow_ws_resume_total', { by: ['outcome'] }), legend: '{{outcome}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Messages for one that came in',
      description: 'How many messages went out for each that came in: about the length of answers in tokens.',
      unit: 'short',
      min: 0,
      series: [
        {
          query: ratio(
            rate('helixflow_ws_messages_total', { where: { direction: 'out' } }),
            rate('helixflow_ws_messages_total', { where: { direction: 'in' } }),
          ),
          legend: 'out for one in',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Time to the first token',
      description: 'How long streamed answers took to begin, whichever way they were read.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(1, 2),
      series: [
        {
          query: quantile(0.95, 'helixflow_time_to_first_token_seconds', { by: ['instance'] }),
          legend: '{{instance}}',
        },
      ],
    },
  ],
}

export const realtime: Dashboard = {
  uid: 'helixflow-realtime',
  title: 'HelixFlow: WebSockets and streams',
  description: 'Who is connected, what is sent, and whether streams can be continued.',
  variables: ['instance'],
  sections: [connections, streams],
}

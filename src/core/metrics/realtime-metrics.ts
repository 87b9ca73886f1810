import type { MetricDeclaration } from './declaration.ts'

/** What a gateway counts of its WebSockets and streams. */
export const REALTIME_METRICS = {
  helixflow_ws_connections: { type: 'gauge', help: 'Open WebSockets at this gateway.', labels: [] },
  helixflow_ws_messages_total: {
    type: 'counter',
    help: 'Messages over WebSockets by direction and type.',
    labels: ['direction', 'type'],
  },
  helixflow_ws_resume_total: {
    type: 'counter',
    help: 'Streams that a client wanted to continue, by what came of it.',
    labels: ['outcome'],
  },
  helixflow_ws_closed_total: {
    type: 'counter',
    help: 'WebSockets that ended, by their close code; 1006 is an end without one.',
    labels: ['code'],
  },
  helixflow_ws_buffered_bytes: {
    type: 'gauge',
    help: 'Bytes that wait to be sent over all WebSockets.',
    labels: [],
  },
  helixflow_streams: {
    type: 'gauge',
    help: 'Generations that are made here as streams, and readers of streams over WebSockets.',
    labels: ['state'],
  },
} as const satisfies Record<string, MetricDeclaration>

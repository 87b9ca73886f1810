/** Every metric, declared once: dashboards and alerts are made from this table too. Labels hold no key, user or request. */
export const METRICS = {
  helixflow_queue_wait_seconds: {
    type: 'histogram',
    help: 'How long requests waited for a slot of their model, or for the model itself.',
    labels: ['model'],
    buckets: [0.001, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60],
  },
  helixflow_queue_depth: {
    type: 'gauge',
    help: 'Requests that wait at this gateway, by model.',
    labels: ['model'],
  },
  helixflow_ratelimit_decisions_total: {
    type: 'counter',
    help: 'Requests that a limit decided about; refused ones by the rule that refused.',
    labels: ['algorithm', 'store', 'outcome'],
  },
  helixflow_ratelimit_fallback_total: {
    type: 'counter',
    help: 'Times that the shared store of limits went away and shares took over.',
    labels: [],
  },
  helixflow_ratelimit_fallback_active: {
    type: 'gauge',
    help: '1 while limits are kept by shares, because the shared store is away.',
    labels: [],
  },
  helixflow_ratelimit_gathered_total: {
    type: 'counter',
    help: 'Decisions of sliding windows whose log was full, so that new entries were gathered.',
    labels: [],
  },
  helixflow_ratelimit_shaped_seconds: {
    type: 'histogram',
    help: 'How long requests were delayed by a limit instead of being refused.',
    labels: ['outcome'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  },
  helixflow_ratelimit_gateways: {
    type: 'gauge',
    help: 'Gateways that share the limits, as this one knows.',
    labels: [],
  },
  helixflow_ratelimit_reservations: {
    type: 'gauge',
    help: 'Reservations of requests that run at the moment.',
    labels: [],
  },
  helixflow_budget_drift: {
    type: 'gauge',
    help: 'Money by which counters of budgets that are idle here differ from the records in the database; to be 0.',
    labels: [],
  },
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
  helixflow_cache_requests_total: {
    type: 'counter',
    help: 'Look-ups in the response cache by layer and outcome.',
    labels: ['layer', 'outcome'],
  },
  helixflow_cache_entries: { type: 'gauge', help: 'Answers in the memory of this gateway.', labels: [] },
  helixflow_cache_bytes: {
    type: 'gauge',
    help: 'Bytes of answers in the memory of this gateway.',
    labels: [],
  },
  helixflow_device_memory_bytes: {
    type: 'gauge',
    help: 'Memory of a device: total, taken by foreign processes, by models as reckoned, free for models, used as the device says.',
    labels: ['device', 'kind'],
  },
  helixflow_device_utilization_ratio: {
    type: 'gauge',
    help: 'Share of the time in which the device computed.',
    labels: ['device'],
  },
  helixflow_device_power_watts: { type: 'gauge', help: 'Power that the device draws.', labels: ['device'] },
  helixflow_device_temperature_celsius: {
    type: 'gauge',
    help: 'Temperature of the device.',
    labels: ['device'],
  },
  helixflow_device_healthy: {
    type: 'gauge',
    help: '1 while the device takes new models; 0 while it is hot or lost.',
    labels: ['device'],
  },
  helixflow_model_instances: {
    type: 'gauge',
    help: 'Instances of a model by state.',
    labels: ['model', 'state'],
  },
  helixflow_model_load_seconds: {
    type: 'histogram',
    help: 'How long models took to load.',
    labels: ['model'],
    buckets: [0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320],
  },
  helixflow_model_evictions_total: {
    type: 'counter',
    help: 'Instances that were told to go, by the reason.',
    labels: ['reason'],
  },
  helixflow_prefetch_total: {
    type: 'counter',
    help: 'Models that were loaded before they were asked for, by whether they were.',
    labels: ['outcome'],
  },
  helixflow_fragmentation_ratio: {
    type: 'gauge',
    help: 'Share of the free memory that the largest model could not use, because it lies on several devices.',
    labels: [],
  },
  helixflow_placement_total: {
    type: 'counter',
    help: 'Models that were to be placed, by strategy and outcome.',
    labels: ['strategy', 'outcome'],
  },
  helixflow_upstream_requests_total: {
    type: 'counter',
    help: "Requests to other people's servers by what came of them.",
    labels: ['replica', 'outcome'],
  },
  helixflow_upstream_circuit_open: {
    type: 'gauge',
    help: "1 while another's server is left alone because it failed.",
    labels: ['replica'],
  },
} as const satisfies Record<string, MetricDeclaration>

export interface MetricDeclaration {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly labels: readonly string[]
  readonly buckets?: readonly number[]
}

export type MetricName = keyof typeof METRICS
type NameOf<Type> = {
  [Name in MetricName]: (typeof METRICS)[Name] extends { readonly type: Type } ? Name : never
}[MetricName]

/** A value for each label of a metric. */
export type LabelsOf<Name extends MetricName> = {
  readonly [Label in (typeof METRICS)[Name]['labels'][number]]: string
}

/** Where a part says what it does. Cheap enough for every request. */
export interface Metrics {
  add<Name extends NameOf<'counter'>>(name: Name, labels: LabelsOf<Name>, by?: number): void
  set<Name extends NameOf<'gauge'>>(name: Name, labels: LabelsOf<Name>, value: number): void
  observe<Name extends NameOf<'histogram'>>(name: Name, labels: LabelsOf<Name>, value: number): void
}

/** For callers that want none, mostly tests. */
export const noMetrics: Metrics = { add: () => {}, set: () => {}, observe: () => {} }

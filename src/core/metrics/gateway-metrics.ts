import type { MetricDeclaration } from './declaration.ts'

/** What a gateway counts of its requests and of what they pass. */
export const GATEWAY_METRICS = {
  helixflow_requests_total: {
    type: 'counter',
    help: 'Requests that ended, by address, model and HTTP status; 499 where the client left. Model is empty where none was asked for, and unknown where it is none of ours.',
    labels: ['route', 'model', 'status'],
  },
  helixflow_request_errors_total: {
    type: 'counter',
    help: 'Requests that failed, by the code of the error that their caller was told.',
    labels: ['code'],
  },
  helixflow_request_duration_seconds: {
    type: 'histogram',
    help: 'Of generations that ended well, from their arrival to their last byte.',
    labels: ['model'],
    buckets: [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300],
  },
  helixflow_time_to_first_token_seconds: {
    type: 'histogram',
    help: 'From the arrival of a streamed generation to its first token.',
    labels: ['model'],
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64],
  },
  helixflow_time_per_output_token_seconds: {
    type: 'histogram',
    help: 'Of a streamed generation, from its first token to its last, divided by the tokens after the first.',
    labels: ['model'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1],
  },
  helixflow_tokens_total: {
    type: 'counter',
    help: 'Tokens of generations: read (prompt), of these found in the KV cache (cached), and made (completion).',
    labels: ['model', 'direction'],
  },
  helixflow_cost_total: {
    type: 'counter',
    help: 'What generations cost by the price list, for the projects with the greatest sums; others together.',
    labels: ['project'],
  },
  helixflow_requests_in_flight: {
    type: 'gauge',
    help: 'Requests that are being worked on at this gateway.',
    labels: [],
  },
  helixflow_gateway_draining: {
    type: 'gauge',
    help: '1 while this gateway takes no new requests.',
    labels: [],
  },
  helixflow_auth_attempts_total: {
    type: 'counter',
    help: 'Credentials that were presented here, by kind and outcome.',
    labels: ['method', 'outcome'],
  },
  helixflow_usage_spool_bytes: {
    type: 'gauge',
    help: 'Records of requests that the database has not taken yet.',
    labels: [],
  },
  helixflow_usage_spool_full: {
    type: 'gauge',
    help: '1 while requests are refused, because their records have no room.',
    labels: [],
  },
  helixflow_canary_seconds: {
    type: 'histogram',
    help: 'How long the small test generation took that an idle replica is given now and then.',
    labels: ['model'],
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64],
  },
  helixflow_canary_failures_total: {
    type: 'counter',
    help: 'Test generations that failed.',
    labels: ['model'],
  },
  helixflow_canary_healthy: {
    type: 'gauge',
    help: '1 while every replica of the model answered its last test generation, 0 where one did not.',
    labels: ['model'],
  },
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

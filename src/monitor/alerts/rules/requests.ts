import type { Query } from '../../query/query.ts'
import type { AlertRule } from '../rule.ts'
import { above, all, below, countOf, HOUR_MS, MINUTE_MS, share } from '../rule-parts.ts'

const WINDOW_MS = 10 * MINUTE_MS
const REQUESTS_MIN = 20

const requests = {
  metric: 'helixflow_requests_total',
  windowMs: WINDOW_MS,
  by: ['model'],
  where: { route: /\/v1\/.*/ },
} as const
const firstTokens = {
  metric: 'helixflow_time_to_first_token_seconds',
  windowMs: WINDOW_MS,
  by: ['model'],
} as const
const tokens = {
  metric: 'helixflow_time_per_output_token_seconds',
  windowMs: WINDOW_MS,
  by: ['model'],
} as const
const waits = { metric: 'helixflow_queue_wait_seconds', windowMs: WINDOW_MS, by: ['model'] } as const

/** Lookups in memory are one a request; what other layers had is counted there. */
function hitShare(windowMs: number): Query {
  const metric = 'helixflow_cache_requests_total'
  return share(
    { kind: 'rate', metric, windowMs, where: { outcome: ['hit', 'stale', 'coalesced'] } },
    {
      kind: 'rate',
      metric,
      windowMs,
      where: { layer: 'memory', outcome: ['hit', 'stale', 'coalesced', 'miss'] },
    },
  )
}

/** What callers notice. */
export const REQUEST_RULES: readonly AlertRule[] = [
  {
    name: 'ErrorRateHigh',
    severity: 'warning',
    condition: all(
      above(
        share(
          { kind: 'rate', ...requests, where: { ...requests.where, status: /5../ } },
          { kind: 'rate', ...requests },
        ),
        0.05,
      ),
      above({ kind: 'increase', ...requests }, REQUESTS_MIN),
    ),
    forMs: 5 * MINUTE_MS,
    summary: '{value percent} of the requests for {model} fail for a reason of ours.',
    meaning: 'Callers of this model get errors that sending the request again may not cure.',
    action: 'See which error codes grow, and what its engines wrote last.',
  },
  {
    name: 'FirstTokenSlow',
    severity: 'warning',
    condition: all(
      above({ kind: 'quantile', quantile: 0.95, ...firstTokens }, 5),
      above(countOf({ kind: 'observed', ...firstTokens }), REQUESTS_MIN),
    ),
    forMs: 10 * MINUTE_MS,
    summary: 'One in twenty streams of {model} waits {value duration} or longer for its first token.',
    meaning: 'Answers of this model seem to hang before they begin.',
    action:
      'Look whether its queue is long, whether it is being loaded again and again, or prompts are very long.',
  },
  {
    name: 'TokensSlow',
    severity: 'warning',
    condition: all(
      above({ kind: 'quantile', quantile: 0.95, ...tokens }, 0.25),
      above(countOf({ kind: 'observed', ...tokens }), REQUESTS_MIN),
    ),
    forMs: 10 * MINUTE_MS,
    summary: 'One in twenty streams of {model} takes {value duration} or longer for a token.',
    meaning: 'Answers of this model come slower than people read.',
    action: 'See whether its device is hot or shared with others, and whether it has too many slots.',
  },
  {
    name: 'QueueWaitLong',
    severity: 'warning',
    condition: all(
      above({ kind: 'quantile', quantile: 0.95, ...waits }, 10),
      above(countOf({ kind: 'observed', ...waits }), REQUESTS_MIN),
    ),
    forMs: 5 * MINUTE_MS,
    summary: 'One in twenty requests for {model} waits {value duration} or longer for its turn.',
    meaning: 'More is asked of this model than its replicas can do.',
    action: 'Add replicas or a device, or limit who asks for so much.',
    explains: [{ alerts: ['FirstTokenSlow'], equal: ['model'] }],
  },
  {
    name: 'QueueDeep',
    severity: 'warning',
    condition: above(
      {
        kind: 'over',
        extreme: 'min',
        combine: 'sum',
        metric: 'helixflow_queue_depth',
        windowMs: 5 * MINUTE_MS,
        by: ['model'],
      },
      32,
    ),
    forMs: 5 * MINUTE_MS,
    summary: '{value} requests or more have been waiting for {model} all the time.',
    meaning: 'The queue does not get shorter by itself; soon requests are refused.',
    action: 'Add replicas or a device, or limit who asks for so much.',
  },
  {
    name: 'CanaryFailing',
    severity: 'critical',
    condition: below({ kind: 'gauge', combine: 'min', metric: 'helixflow_canary_healthy', by: ['model'] }, 1),
    forMs: 2 * MINUTE_MS,
    summary: 'A replica of {model} does not answer its test generation.',
    meaning: 'Requests that are sent to it may hang or fail although its process runs.',
    action: 'Unload the model and load it again; look at what its engine wrote last.',
  },
  {
    name: 'CacheCollapse',
    severity: 'warning',
    condition: all(
      below(hitShare(15 * MINUTE_MS), { kind: 'scale', of: hitShare(6 * HOUR_MS), by: 0.4 }),
      above(hitShare(6 * HOUR_MS), 0.05),
      above(
        {
          kind: 'increase',
          metric: 'helixflow_cache_requests_total',
          windowMs: 15 * MINUTE_MS,
          where: { layer: 'memory', outcome: ['hit', 'stale', 'coalesced', 'miss'] },
        },
        200,
      ),
    ),
    forMs: 10 * MINUTE_MS,
    summary: 'Only {value percent} of lookups in the cache find something, less than half of what it was.',
    meaning: 'Engines compute what was kept before: answers cost more and take longer.',
    action:
      'See whether the cache was emptied, Redis lost its keys, or callers began to send what is never the same.',
  },
  {
    name: 'UpstreamCircuitOpen',
    severity: 'warning',
    condition: above(
      { kind: 'gauge', combine: 'max', metric: 'helixflow_upstream_circuit_open', by: ['replica'] },
      0,
    ),
    forMs: 2 * MINUTE_MS,
    summary: 'The upstream server {replica} is left alone because it keeps failing.',
    meaning: 'Its models are served by others, or not at all.',
    action: 'Ask whoever runs it; check its address and our key for it.',
  },
  {
    name: 'LimiterFallback',
    severity: 'warning',
    condition: above(
      {
        kind: 'gauge',
        combine: 'max',
        metric: 'helixflow_ratelimit_fallback_active',
        by: ['instance'],
      },
      0,
    ),
    forMs: 2 * MINUTE_MS,
    summary: 'The gateway {instance} keeps limits by its share, because the shared store does not answer.',
    meaning: 'Limits still hold, but a caller that uses one gateway alone gets less than it may.',
    action: 'Get Redis back; nothing else is needed.',
  },
  {
    name: 'UsageSpoolFilling',
    severity: 'warning',
    condition: above(
      { kind: 'gauge', combine: 'max', metric: 'helixflow_usage_spool_bytes', by: ['instance'] },
      8 * 1024 * 1024,
    ),
    forMs: 10 * MINUTE_MS,
    summary: 'The gateway {instance} holds {value bytes} of usage records that the database has not taken.',
    meaning: 'Usage and costs are behind; when the spool is full requests are refused.',
    action: 'See whether the database answers and has room.',
  },
  {
    name: 'UsageSpoolFull',
    severity: 'critical',
    condition: above(
      { kind: 'gauge', combine: 'max', metric: 'helixflow_usage_spool_full', by: ['instance'] },
      0,
    ),
    forMs: 0,
    summary: 'The gateway {instance} refuses requests, because their usage records have no room.',
    meaning: 'Callers get errors until the database takes records again.',
    action: 'Get the database back, or free its disk; the spool then empties by itself.',
    explains: [{ alerts: ['UsageSpoolFilling'], equal: ['instance'] }],
  },
]

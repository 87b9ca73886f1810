import { degraded, type HealthCheck } from './health-check.ts'

const LOOP_LAG_MAX_SECONDS = 0.25
/** A load of a model or a large request may hold it up once. */
const LAG_WINDOW_MS = 60_000
const SPOOL_MAX_BYTES = 16 * 2 ** 20

const service = ({ role = '', instance = '' }: Readonly<Record<string, string>>) => `${role} ${instance}`

/** What processes say of themselves. Whether they say anything is known without asking. */
export const SERVICE_CHECKS: readonly HealthCheck[] = [
  {
    kind: 'service',
    query: {
      ...{ kind: 'over', extreme: 'avg', windowMs: LAG_WINDOW_MS, combine: 'max' },
      ...{ metric: 'helixflow_event_loop_lag_seconds' },
      ...{ where: { share: '0.99' }, by: ['role', 'instance'] },
    },
    name: service,
    judge: (seconds) =>
      seconds < LOOP_LAG_MAX_SECONDS
        ? undefined
        : degraded(
            `its event loop is ${Math.round(seconds * 1_000)} ms late`,
            'The process has more work than one processor does: give it a processor of its own, or run more gateways.',
          ),
  },
  {
    kind: 'service',
    query: {
      ...{ kind: 'gauge', combine: 'max', metric: 'helixflow_usage_spool_full' },
      by: ['role', 'instance'],
    },
    name: service,
    judge: (full) =>
      full < 1
        ? undefined
        : {
            health: 'failed',
            reason: 'it refuses requests, for their records have no room',
            remedy: 'See why the database does not take them, or raise usage.spoolMax.',
          },
  },
  {
    kind: 'service',
    query: {
      ...{ kind: 'gauge', combine: 'max', metric: 'helixflow_usage_spool_bytes' },
      by: ['role', 'instance'],
    },
    name: service,
    judge: (bytes) =>
      bytes < SPOOL_MAX_BYTES
        ? undefined
        : degraded(
            `${Math.round(bytes / 1e6)} MB of records wait for the database`,
            'See why the database does not take them, before there is no room left.',
          ),
  },
  {
    kind: 'service',
    query: {
      ...{ kind: 'gauge', combine: 'max', metric: 'helixflow_gateway_draining' },
      by: ['role', 'instance'],
    },
    name: service,
    judge: (draining) =>
      draining < 1 ? undefined : degraded('it is shutting down', 'Nothing, if somebody wanted that.'),
  },
]

import type { MetricDeclaration } from './declaration.ts'

/** What is counted of the database, of Redis, of backups and of budgets. */
export const STORAGE_METRICS = {
  helixflow_db_up: {
    type: 'gauge',
    help: '1 while the database answers.',
    labels: [],
  },
  helixflow_db_pool_connections: {
    type: 'gauge',
    help: 'Connections to the database: busy, idle; and requests that wait for one.',
    labels: ['state'],
  },
  helixflow_db_pool_connections_max: {
    type: 'gauge',
    help: 'Most connections that this process opens.',
    labels: [],
  },
  helixflow_db_acquire_seconds: {
    type: 'histogram',
    help: 'How long statements waited for a connection.',
    labels: [],
    buckets: [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5],
  },
  helixflow_db_query_seconds: {
    type: 'histogram',
    help: 'How long the database took for a statement, by the first word and the table of it.',
    labels: ['query'],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5],
  },
  helixflow_db_failures_total: {
    type: 'counter',
    help: 'Statements that failed and connections that were not to be had, by the code of PostgreSQL; connection where it said nothing, busy where all of ours were in use.',
    labels: ['code'],
  },
  helixflow_db_retries_total: {
    type: 'counter',
    help: 'Transactions that ran again, because they lost against others.',
    labels: [],
  },
  helixflow_db_replica_lag_bytes: {
    type: 'gauge',
    help: 'By how much of the log a replica is behind.',
    labels: ['replica'],
  },
  helixflow_db_replica_up: {
    type: 'gauge',
    help: '1 while the replica answers.',
    labels: ['replica'],
  },
  helixflow_db_size_bytes: {
    type: 'gauge',
    help: 'Size of the database on disk.',
    labels: [],
  },
  helixflow_redis_up: {
    type: 'gauge',
    help: '1 while Redis answers.',
    labels: [],
  },
  helixflow_redis_reconnects_total: {
    type: 'counter',
    help: 'Times that the connection to Redis had to be made anew.',
    labels: [],
  },
  helixflow_backup_last_success_timestamp_seconds: {
    type: 'gauge',
    help: 'When the newest good backup was finished; 0 without one.',
    labels: [],
  },
  helixflow_backup_expected_interval_seconds: {
    type: 'gauge',
    help: 'Time from one backup to the next as the settings have it; 0 where backups are made only when asked for.',
    labels: [],
  },
  helixflow_backup_failures_total: {
    type: 'counter',
    help: 'Backups that failed.',
    labels: [],
  },
  helixflow_budget_used_ratio: {
    type: 'gauge',
    help: 'Of budgets of which half is used, the share that is: by the rule that sets it.',
    labels: ['rule'],
  },
} as const satisfies Record<string, MetricDeclaration>

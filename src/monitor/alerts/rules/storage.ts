import type { Query } from '../../query/query.ts'
import type { AlertRule } from '../rule.ts'
import { above, all, below, countOf, DAY_MS, HOUR_MS, MINUTE_MS, share } from '../rule-parts.ts'

const acquired = {
  metric: 'helixflow_db_acquire_seconds',
  windowMs: 10 * MINUTE_MS,
  by: ['instance'],
} as const
const room = {
  kind: 'gauge',
  combine: 'min',
  metric: 'helixflow_disk_free_bytes',
  by: ['instance', 'place'],
} as const
const newestBackup = { combine: 'max', metric: 'helixflow_backup_last_success_timestamp_seconds' } as const
const backupInterval: Query = {
  kind: 'gauge',
  combine: 'max',
  metric: 'helixflow_backup_expected_interval_seconds',
}

function certificate(severity: 'critical' | 'warning', days: number): AlertRule {
  const left: Query = {
    kind: 'scale',
    of: {
      kind: 'age',
      combine: 'max',
      metric: 'helixflow_certificate_expiry_timestamp_seconds',
      by: ['certificate'],
    },
    by: -1,
  }
  return {
    name: 'CertificateExpiring',
    severity,
    condition: below(left, (days * DAY_MS) / 1000),
    forMs: 10 * MINUTE_MS,
    summary: 'The certificate {certificate} is good for {value duration} more.',
    meaning: 'After that services refuse each other, and requests fail.',
    action: 'Make a new one and put it in the place of the old one.',
  }
}

/** What is kept: the database, Redis, disks, certificates, backups. */
export const STORAGE_RULES: readonly AlertRule[] = [
  {
    name: 'DatabaseDown',
    severity: 'critical',
    condition: below({ kind: 'gauge', combine: 'min', metric: 'helixflow_db_up', by: ['instance'] }, 1),
    forMs: MINUTE_MS,
    summary: 'The database does not answer {instance}.',
    meaning:
      'Keys that are known go on for a while; nothing can be changed, and usage waits at the gateways.',
    action: 'See whether PostgreSQL runs, has room on its disk, and takes connections.',
    explains: [
      {
        alerts: [
          'ReplicaDown',
          'ReplicaLag',
          'ConnectionPoolExhausted',
          'ConnectionWaitLong',
          'UsageSpoolFilling',
          'HistoryNotWritten',
          'NoPoolLeader',
        ],
      },
    ],
  },
  {
    name: 'ReplicaDown',
    severity: 'warning',
    condition: below(
      { kind: 'gauge', combine: 'min', metric: 'helixflow_db_replica_up', by: ['replica'] },
      1,
    ),
    forMs: 2 * MINUTE_MS,
    summary: 'The replica {replica} of the database does not answer.',
    meaning: 'What it would read is read from the database itself, and one copy of the data is missing.',
    action: 'Start it, or take it out of database.replicaUrls.',
    explains: [{ alerts: ['ReplicaLag'], equal: ['replica'] }],
  },
  {
    name: 'ReplicaLag',
    severity: 'warning',
    condition: above(
      { kind: 'gauge', combine: 'max', metric: 'helixflow_db_replica_lag_bytes', by: ['replica'] },
      64 * 1024 * 1024,
    ),
    forMs: 5 * MINUTE_MS,
    summary: 'The replica {replica} is {value bytes} of log behind.',
    meaning: 'Nothing is read from it, and so much would be lost if it had to stand in.',
    action: 'See whether its disk or its network is too slow, or a long query holds it up.',
  },
  {
    name: 'ConnectionPoolExhausted',
    severity: 'critical',
    condition: above(
      {
        kind: 'over',
        extreme: 'min',
        combine: 'max',
        metric: 'helixflow_db_pool_connections',
        windowMs: MINUTE_MS,
        where: { state: 'waiting' },
        by: ['instance'],
      },
      0,
    ),
    forMs: 2 * MINUTE_MS,
    summary: 'At {instance} {value} statements or more wait for a connection to the database all the time.',
    meaning: 'Whatever needs the database is slow, and soon fails.',
    action: 'See which statements take so long; only then allow more connections.',
    explains: [{ alerts: ['ConnectionWaitLong'], equal: ['instance'] }],
  },
  {
    name: 'ConnectionWaitLong',
    severity: 'warning',
    condition: all(
      above({ kind: 'quantile', quantile: 0.99, ...acquired }, 0.02),
      above(countOf({ kind: 'observed', ...acquired }), 100),
    ),
    forMs: 10 * MINUTE_MS,
    summary: 'At {instance} one in a hundred statements waits {value duration} or longer for a connection.',
    meaning: 'Logins, keys and administration get slow.',
    action: 'See which statements take so long; only then allow more connections.',
  },
  {
    name: 'RedisDown',
    severity: 'critical',
    condition: below({ kind: 'gauge', combine: 'min', metric: 'helixflow_redis_up', by: ['instance'] }, 1),
    forMs: MINUTE_MS,
    summary: 'Redis does not answer {instance}.',
    meaning:
      'Gateways keep limits by shares, share no answers, and cannot continue the streams of each other.',
    action: 'See whether Redis runs and is reached; nothing has to be started anew afterwards.',
    explains: [{ alerts: ['LimiterFallback'], equal: ['instance'] }, { alerts: ['CacheCollapse'] }],
  },
  {
    name: 'DiskFilling',
    severity: 'critical',
    condition: below(room, 1024 ** 3),
    forMs: 5 * MINUTE_MS,
    summary: 'The disk of {place} at {instance} has only {value bytes} left.',
    meaning: 'Soon nothing can be written there any more.',
    action: 'Make room now: remove models or backups that are not needed.',
  },
  {
    name: 'DiskFilling',
    severity: 'warning',
    condition: below(
      share(room, {
        kind: 'gauge',
        combine: 'min',
        metric: 'helixflow_disk_total_bytes',
        by: ['instance', 'place'],
      }),
      0.1,
    ),
    forMs: 10 * MINUTE_MS,
    summary: 'The disk of {place} at {instance} has {value percent} of its room left.',
    meaning: 'When it is full, nothing can be written there any more.',
    action: 'Remove models or backups that are not needed, or get a larger disk.',
  },
  certificate('critical', 3),
  certificate('warning', 14),
  {
    name: 'BackupMissing',
    severity: 'warning',
    condition: all(below({ kind: 'gauge', ...newestBackup }, 1), above(backupInterval, 0)),
    // The first one is made at once, however long it takes.
    forMs: 2 * HOUR_MS,
    summary: 'There is no backup, although the settings want them.',
    meaning: 'If the disk of the database is lost, everything is.',
    action: 'Make one by hand and read why it fails.',
  },
  {
    name: 'BackupOld',
    severity: 'warning',
    condition: all(
      above({ kind: 'age', ...newestBackup, combine: 'min' }, { kind: 'scale', of: backupInterval, by: 2 }),
      above(backupInterval, 0),
      above({ kind: 'gauge', ...newestBackup }, 0),
    ),
    forMs: 15 * MINUTE_MS,
    summary: 'The newest good backup is {value duration} old, more than twice what the settings want.',
    meaning: 'If the disk of the database is lost, so is everything since, unless its log was archived.',
    action: 'Make one by hand and read why it fails.',
  },
  {
    name: 'BackupFailing',
    severity: 'warning',
    condition: above(
      { kind: 'increase', metric: 'helixflow_backup_failures_total', windowMs: 6 * HOUR_MS },
      0.5,
    ),
    forMs: 0,
    summary: 'Backups failed in the last six hours.',
    meaning: 'The newest good backup gets older, or one that was thought good is not.',
    action: 'Read why in the list of backups and in the log; check the newest with backup verify.',
  },
]

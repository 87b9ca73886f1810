import {
  type Ask,
  bytesText,
  degraded,
  type Finding,
  failed,
  type HealthCheck,
  percent,
  spanText,
} from './health-check.ts'
import type { Query } from './query/query.ts'

const REPLICA_LAG_MAX_BYTES = 64 * 2 ** 20
const DISK_LOW_SHARE = 0.1
/** Below both, a large disk that is nearly full still has room for long. */
const DISK_LOW_BYTES = 20e9
const DISK_FULL_BYTES = 500e6
const CERTIFICATE_WARNING_SECONDS = 14 * 86_400
const WAITING_MS = 60_000
const BACKUP_LATE = 2
const BACKUP_WINDOW_MS = 3_600_000

const LAST_BACKUP = 'helixflow_backup_last_success_timestamp_seconds'
const PROCESS_START = 'process_start_time_seconds'

type Labels = Readonly<Record<string, string>>

/** Where data lies, and what protects it. */
export const STORAGE_CHECKS: readonly HealthCheck[] = [
  {
    kind: 'database',
    query: { kind: 'gauge', combine: 'min', metric: 'helixflow_db_up' },
    name: () => 'primary',
    judge: (up) =>
      up > 0
        ? undefined
        : failed(
            'it does not answer',
            'Look whether PostgreSQL runs and has room on its disk. Who is known is served meanwhile; `helixflow db doctor` says more once it is back.',
          ),
  },
  {
    kind: 'database',
    // Who waits only now and then waits for no harm.
    query: {
      ...{ kind: 'over', extreme: 'min', windowMs: WAITING_MS, combine: 'max' },
      ...{ metric: 'helixflow_db_pool_connections', where: { state: 'waiting' } },
    },
    name: () => 'primary',
    judge: (waiting) =>
      waiting < 1
        ? undefined
        : degraded(
            `${waiting} statements wait for a connection`,
            'Raise database.connectionsMax, or look for slow statements with `helixflow db queries`.',
          ),
  },
  {
    kind: 'replica',
    query: { kind: 'gauge', combine: 'min', metric: 'helixflow_db_replica_up', by: ['replica'] },
    name: (labels) => labels['replica'] ?? '',
    judge: (up) =>
      up > 0
        ? undefined
        : degraded('it does not answer', 'The primary answers its reads. Look whether the replica runs.'),
  },
  {
    kind: 'replica',
    query: { kind: 'gauge', combine: 'max', metric: 'helixflow_db_replica_lag_bytes', by: ['replica'] },
    name: (labels) => labels['replica'] ?? '',
    judge: (bytes) =>
      bytes < REPLICA_LAG_MAX_BYTES
        ? undefined
        : degraded(
            `it lacks ${bytesText(bytes)} of the log`,
            'Look at its disk and its network; until it has caught up the primary answers.',
          ),
  },
  {
    kind: 'redis',
    query: { kind: 'gauge', combine: 'min', metric: 'helixflow_redis_up' },
    name: () => 'redis',
    judge: (up) =>
      up > 0
        ? undefined
        : degraded(
            'it does not answer',
            'Look whether Redis runs. Until then each gateway keeps its share of every limit, and caches and streams by itself.',
          ),
  },
  {
    kind: 'redis',
    query: { kind: 'gauge', combine: 'max', metric: 'helixflow_ratelimit_fallback_active' },
    name: () => 'redis',
    judge: (active) =>
      active < 1
        ? undefined
        : degraded(
            'limits are kept by shares, since Redis was away',
            'It ends by itself once Redis answers again.',
          ),
  },
  {
    kind: 'disk',
    query: { kind: 'gauge', combine: 'min', metric: 'helixflow_disk_free_bytes', by: ['instance', 'place'] },
    name: ({ place, instance }) => `${place} at ${instance}`,
    also: [diskSize({})],
    judge: judgeDisk,
  },
  {
    kind: 'certificate',
    query: {
      ...{ kind: 'age', combine: 'max', metric: 'helixflow_certificate_expiry_timestamp_seconds' },
      by: ['instance', 'certificate'],
    },
    name: ({ certificate, instance }) => `${certificate} at ${instance}`,
    judge: (seconds) => {
      const remedy = 'Make a new one and put it where rpc.tls says, as docs/services-apart.md shows.'
      if (seconds >= 0) return failed(`it ended ${spanText(seconds)} ago`, remedy)
      if (seconds < -CERTIFICATE_WARNING_SECONDS) return undefined
      return degraded(`it ends in ${spanText(-seconds)}`, remedy)
    },
  },
  {
    kind: 'backup',
    query: {
      kind: 'gauge',
      combine: 'max',
      metric: 'helixflow_backup_expected_interval_seconds',
      by: ['instance'],
    },
    name: ({ instance }) => `of ${instance}`,
    also: [backupFailures({}), ageOf(LAST_BACKUP, {}), ageOf(PROCESS_START, {})],
    judge: judgeBackup,
  },
]

function judgeDisk(free: number, { instance, place }: Labels, ask: Ask): Finding | undefined {
  const [total] = ask(diskSize({ instance, place }))
  const remedy = `Make room there: \`helixflow models rm\`, older backups, or a larger disk for ${place}.`
  const left = `${bytesText(free)} are free${total ? `, ${percent(free / total.value)}` : ''}`
  if (free < DISK_FULL_BYTES) return failed(left, remedy)
  const isLow = free < DISK_LOW_BYTES && total !== undefined && free / total.value < DISK_LOW_SHARE
  return isLow ? degraded(left, remedy) : undefined
}

/** Where backups are made by a schedule: whether the newest is as new as that promises, and none failed lately. */
function judgeBackup(interval: number, { instance }: Labels, ask: Ask): Finding | undefined {
  const remedy =
    'The log says why; `helixflow backup create` makes one now, `helixflow backup list` shows what there is.'
  if (ask(backupFailures({ instance })).some(({ value }) => value >= 0.5))
    return degraded('one failed in the last hour', remedy)
  if (interval === 0) return undefined
  const age = ask(ageOf(LAST_BACKUP, { instance }))[0]?.value ?? 0
  // The first one is due when the process has run for so long.
  const running = ask(ageOf(PROCESS_START, { instance }))[0]?.value ?? 0
  if (Math.min(age, running) < BACKUP_LATE * interval) return undefined
  return degraded(
    `${age > 1e9 ? 'there is none' : `the newest is ${spanText(age)} old`}, and one is due every ${spanText(interval)}`,
    remedy,
  )
}

interface Place {
  readonly instance?: string | undefined
  readonly place?: string | undefined
}

function at(instance: string | undefined) {
  return instance === undefined ? {} : { instance }
}

function diskSize({ instance, place }: Place): Query {
  const where = { ...at(instance), ...(place !== undefined && { place }) }
  return { kind: 'gauge', combine: 'max', metric: 'helixflow_disk_total_bytes', where }
}

function backupFailures({ instance }: Place): Query {
  const where = at(instance)
  return { kind: 'increase', windowMs: BACKUP_WINDOW_MS, metric: 'helixflow_backup_failures_total', where }
}

function ageOf(metric: typeof LAST_BACKUP | typeof PROCESS_START, { instance }: Place): Query {
  return { kind: 'age', combine: 'min', metric, where: at(instance) }
}

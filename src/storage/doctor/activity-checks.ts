import { advice, bytesText, type Check, type Outcome, ok, one, problem, secondsText } from './check.ts'

const RETAINED_BYTES_MAX = 2 ** 30
const LAG_SECONDS_MAX = 30

const transactions: Check = {
  name: 'transactions',
  run: async (database, { longTransactionMs }) => {
    const rows = await database.query<{ who: string; state: string | null; seconds: number; end: string }>(
      `select 'process ' || pid || coalesce(' (' || nullif(application_name, '') || ')', '') as who, state,
              extract(epoch from clock_timestamp() - xact_start)::float8 as seconds,
              'select pg_terminate_backend(' || pid || ');' as end
       from pg_stat_activity
       where backend_type = 'client backend' and pid <> pg_backend_pid()
         and xact_start < clock_timestamp() - $1 * interval '1 ms'
       union all
       select 'prepared transaction ' || gid, 'prepared',
              extract(epoch from clock_timestamp() - prepared)::float8, 'rollback prepared ' || quote_literal(gid) || ';'
       from pg_prepared_xacts where prepared < clock_timestamp() - $1 * interval '1 ms'
       order by seconds desc limit 10`,
      [longTransactionMs],
    )
    if (rows.length === 0) return ok(`none older than ${secondsText(longTransactionMs / 1000)}`)
    return rows.map(({ who, state, seconds, end }) =>
      advice(
        `${who} has had a transaction open for ${secondsText(seconds)} (${state ?? 'state not shown to this role'}); dead rows stay until it ends.`,
        end,
      ),
    )
  },
}

/** Transaction numbers are spent; near two thousand million unfrozen ones the server stops writing. */
const AGE_PROBLEM = 1_000_000_000
const AGE_ADVICE = 400_000_000

const vacuum: Check = {
  name: 'vacuum',
  run: async (database) => {
    const { on, age } = await one<{ on: boolean; age: number }>(
      database,
      `select current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean as on,
              (select max(greatest(age(datfrozenxid), mxid_age(datminmxid))) from pg_database)::float8 as age`,
    )
    const outcomes = [...ageOutcomes(age)]
    if (!on) {
      const remedy = 'Set autovacuum = on and track_counts = on, and reload the server.'
      outcomes.push(problem('Autovacuum is off: tables grow without end, until the server stops.', remedy))
    }
    return outcomes.length > 0 ? outcomes : ok(`autovacuum on, oldest transaction number ${age} behind`)
  },
}

/** What the age of the oldest unfrozen transaction number means. */
export function ageOutcomes(age: number): readonly Outcome[] {
  if (age < AGE_ADVICE) return []
  const remedy = 'Look for what holds vacuum back (transactions, replication slots), then: vacuum (freeze);'
  const text = `The oldest transaction number is ${age} behind, and the server stops near 2,000,000,000.`
  return [age >= AGE_PROBLEM ? problem(text, remedy) : advice(text, remedy)]
}

const replication: Check = {
  name: 'replication',
  run: async (database) => {
    const { standby, seconds } = await one<{ standby: boolean; seconds: number | null }>(
      database,
      `select pg_is_in_recovery() as standby,
              extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 as seconds`,
    )
    if (standby)
      return problem(
        `This server is a standby${seconds === null ? '' : `, ${secondsText(seconds)} behind`}: nothing can be written.`,
        'Name the primary in database.url.',
      )
    const replicas = await database.query<Replica>(
      `select coalesce(nullif(application_name, ''), 'process ' || pid) as name, state, sync_state as sync,
              pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8 as bytes,
              extract(epoch from replay_lag)::float8 as seconds
       from pg_stat_replication`,
    )
    const slots = await database.query<{ name: string; bytes: number | null }>(
      `select slot_name as name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 as bytes
       from pg_replication_slots where not active`,
    )
    const outcomes = [...replicas.map(replicaOutcome), ...slots.map(slotOutcome)]
    return outcomes.length > 0 ? outcomes : ok('no replicas')
  },
}

interface Replica {
  readonly name: string
  /** Null where this role may not see it; so are the others. */
  readonly state: string | null
  readonly sync: string | null
  readonly bytes: number | null
  /** Null also when there was nothing to replay lately. */
  readonly seconds: number | null
}

function replicaOutcome({ name, state, sync, bytes, seconds }: Replica): Outcome {
  if (state === null)
    return advice(
      `${name} is connected; its state is not shown to this role.`,
      'grant pg_monitor to the role of HelixFlow;',
    )
  const lag = [
    bytes === null ? 'lag in bytes unknown' : `${bytesText(bytes)} behind`,
    seconds === null ? 'in time unknown' : secondsText(seconds),
  ].join(', ')
  const text = `${name}: ${state}, ${sync}, ${lag}`
  const healthy = state === 'streaming' && (seconds ?? 0) <= LAG_SECONDS_MAX
  return healthy ? ok(text) : advice(text, 'Look at the log, the load and the network of the replica.')
}

function slotOutcome({ name, bytes }: { name: string; bytes: number | null }): Outcome {
  const kept = bytes === null ? 'nothing yet' : bytesText(bytes)
  const text = `Replication slot ${name} is used by nobody and keeps ${kept} of log from being removed.`
  const remedy = `If its replica does not come back: select pg_drop_replication_slot('${name}');`
  return (bytes ?? 0) > RETAINED_BYTES_MAX ? problem(text, remedy) : advice(text, remedy)
}

export const ACTIVITY_CHECKS: readonly Check[] = [transactions, vacuum, replication]

import type { Database } from './database.ts'

/** A notification for one receiver, as the table has it. */
export interface StoredNotification {
  readonly id: string
  readonly receiver: string
  /** Those of one group reach a receiver in the order in which they were made. */
  readonly groupKey: string
  readonly body: object
  readonly attempts: number
  readonly createdAtMs: number
  /** Undefined while it is to be delivered. */
  readonly done?: { readonly atMs: number; readonly outcome: string } | undefined
}

/**
 * Writes down what became of them, and of those that are not done, that nobody else is to try them until `leaseUntilMs`.
 * What was not there yet is added; what is done stays as it is.
 * @returns the ones that were added
 * @throws HelixError as `Database.query`
 */
export async function saveNotifications(
  database: Database,
  notifications: readonly StoredNotification[],
  leaseUntilMs: number,
): Promise<readonly Pick<StoredNotification, 'id' | 'receiver'>[]> {
  const rows = await database.query<{ id: string; receiver: string; added: boolean }>(
    `insert into notifications as kept
       (id, receiver, group_key, body, attempts, next_at, created_at, done_at, outcome)
     select id, receiver, "groupKey", body, attempts, $2, to_timestamp("createdAtMs" / 1000.0),
       to_timestamp("doneAtMs" / 1000.0), outcome
     from rows from (json_to_recordset($1::json) as (id text, receiver text, "groupKey" text, body jsonb,
       attempts integer, "createdAtMs" double precision, "doneAtMs" double precision, outcome text))
       with ordinality as given (id, receiver, "groupKey", body, attempts, "createdAtMs", "doneAtMs", outcome, place)
     order by place
     on conflict (id, receiver) do update set attempts = excluded.attempts, next_at = excluded.next_at,
       done_at = excluded.done_at, outcome = excluded.outcome
     where kept.done_at is null
     -- A row that was there has been written to by another transaction before.
     returning id, receiver, xmax = 0 as added`,
    [JSON.stringify(notifications.map(toRow)), new Date(leaseUntilMs)],
  )
  return rows.filter(({ added }) => added)
}

export interface NotificationClaim {
  readonly receiver: string
  readonly nowMs: number
  readonly leaseUntilMs: number
  readonly limit: number
  /** Also those that somebody else may be at: for whoever knows that there is nobody else. */
  readonly all: boolean
}

/**
 * What is to be delivered to that receiver and is nobody's, the oldest first; the caller's from now on.
 * @throws HelixError as `Database.query`
 */
export async function claimNotifications(
  database: Database,
  { receiver, nowMs, leaseUntilMs, limit, all }: NotificationClaim,
): Promise<readonly StoredNotification[]> {
  const rows = await database.query<NotificationRow>(
    `update notifications set next_at = $3
     where receiver = $1 and done_at is null and ordinal = any (array(
       select ordinal from notifications
       where receiver = $1 and done_at is null and ($5 or next_at <= $2)
       order by ordinal limit $4 for update skip locked))
     returning *`,
    [receiver, new Date(nowMs), new Date(leaseUntilMs), limit, all],
  )
  return rows.map(toNotification).sort((one, other) => one.ordinal - other.ordinal)
}

/** The newest first. @throws HelixError as `Database.read` */
export async function listNotifications(
  database: Database,
  limit: number,
): Promise<readonly StoredNotification[]> {
  const rows = await database.read<NotificationRow>(
    'select * from notifications order by created_at desc limit $1',
    [limit],
  )
  return rows.map(toNotification)
}

/** The last notification of each receiver and group since then. @throws HelixError as `Database.query` */
export async function lastNotifications(
  database: Database,
  sinceMs: number,
): Promise<readonly StoredNotification[]> {
  const rows = await database.query<NotificationRow>(
    `select distinct on (receiver, group_key) * from notifications where created_at >= $1
     order by receiver, group_key, created_at desc, ordinal desc`,
    [new Date(sinceMs)],
  )
  return rows.map(toNotification)
}

/**
 * Gives up what was to be delivered and is older than one moment, as of receivers that are no more, and forgets what is older
 * than the other.
 * @throws HelixError as `Database.query`
 */
export async function dropOldNotifications(
  database: Database,
  {
    nowMs,
    giveUpBeforeMs,
    forgetBeforeMs,
  }: Readonly<Record<'nowMs' | 'giveUpBeforeMs' | 'forgetBeforeMs', number>>,
): Promise<void> {
  await database.query(
    `update notifications set done_at = $1, outcome = 'expired' where done_at is null and created_at < $2`,
    [new Date(nowMs), new Date(giveUpBeforeMs)],
  )
  await database.query('delete from notifications where created_at < $1', [new Date(forgetBeforeMs)])
}

function toRow({ done, ...notification }: StoredNotification): object {
  return { ...notification, doneAtMs: done?.atMs, outcome: done?.outcome }
}

interface NotificationRow {
  readonly id: string
  readonly receiver: string
  readonly group_key: string
  readonly ordinal: string
  readonly body: object
  readonly attempts: number
  readonly created_at: Date
  readonly done_at: Date | null
  readonly outcome: string | null
}

function toNotification(row: NotificationRow): StoredNotification & { readonly ordinal: number } {
  return {
    id: row.id,
    receiver: row.receiver,
    groupKey: row.group_key,
    ordinal: Number(row.ordinal),
    body: row.body,
    attempts: row.attempts,
    createdAtMs: row.created_at.getTime(),
    done: row.done_at === null ? undefined : { atMs: row.done_at.getTime(), outcome: row.outcome ?? '' },
  }
}

import { setTimeout as sleep } from 'node:timers/promises'
import { type ContentDigest, digestContent } from './content-digest.ts'
import type { Session } from './session.ts'
import { parseLsn } from './wal-names.ts'

/** A point in the log that a restored server can stop at, and what the database held exactly there. */
export interface Witness {
  readonly restorePoint: string
  readonly lsn: string
  /** Undefined where writing never paused for long enough to tell. */
  readonly content: ContentDigest | undefined
}

const ATTEMPTS = 100

/** Between attempts, in which other transactions may end. */
const PAUSE_MS = 20

/**
 * A restore point takes 104 bytes of log, and the head of a page that it happens to begin up to 40 more. Whatever a
 * transaction changes and commits takes more than what is left of this.
 */
const RESTORE_POINT_BYTES_MAX = 144n

/**
 * Puts a restore point into the log, such that a snapshot shows exactly what a server that stops there will hold: no
 * transaction is under way when the snapshot is taken, and none is logged between before it and the restore point.
 * Writers are not held up; where they leave no such moment in a hundred attempts, the content stays untold.
 */
export async function leaveWitness(session: Session, name: string, signal: AbortSignal): Promise<Witness> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted()
    const before = await position(session)
    await session.query('begin isolation level repeatable read')
    const [alone] = await session.query<{ quiet: boolean }>(
      'select not exists (select from pg_snapshot_xip(pg_current_snapshot())) as quiet',
    )
    const lsn = alone?.quiet || attempt === ATTEMPTS ? await restorePoint(session, name) : undefined
    const exact =
      alone?.quiet === true && lsn !== undefined && parseLsn(lsn) - before <= RESTORE_POINT_BYTES_MAX
    const content = exact ? await digestContent(session, signal) : undefined
    await session.query('commit')
    if (lsn !== undefined && (exact || attempt === ATTEMPTS)) return { restorePoint: name, lsn, content }
    await sleep(PAUSE_MS)
  }
}

async function position(session: Session): Promise<bigint> {
  const [row] = await session.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn')
  return parseLsn(row?.lsn ?? '')
}

async function restorePoint(session: Session, name: string): Promise<string> {
  const [row] = await session.query<{ lsn: string }>('select pg_create_restore_point($1)::text as lsn', [
    name,
  ])
  return row?.lsn ?? ''
}

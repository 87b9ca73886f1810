import type { Queries } from './database.ts'

/** The one of several monitors that writes and tells, and until when it may go without saying that it is there. */
const SEAT = 'seat'

/**
 * Takes or keeps the seat of the monitor that works: a row that says who, which is another's once it was not renewed for
 * `leaseMs`. By the database's clock, which is the same for all. @returns whether this one has it
 */
export async function holdSeat(queries: Queries, holder: string, leaseMs: number): Promise<boolean> {
  const rows = await queries.query(
    `insert into monitor_states as seat (name, state, saved_at)
     values ($1, jsonb_build_object('holder', $2::text), clock_timestamp())
     on conflict (name) do update set state = excluded.state, saved_at = excluded.saved_at
     where seat.state ->> 'holder' = $2 or seat.saved_at < clock_timestamp() - $3 * interval '1 millisecond'
     returning name`,
    [SEAT, holder, leaseMs],
  )
  return rows.length > 0
}

/** Gives it up at once, if this one has it. */
export async function leaveSeat(queries: Queries, holder: string): Promise<void> {
  await queries.query(`delete from monitor_states where name = $1 and state ->> 'holder' = $2`, [
    SEAT,
    holder,
  ])
}

/** What was saved under that name, by whichever monitor; undefined where nothing was. */
export async function readState(queries: Queries, name: string): Promise<unknown> {
  const [row] = await queries.query<{ state: unknown }>('select state from monitor_states where name = $1', [
    name,
  ])
  return row?.state
}

/** Saves it for the next start, if this one has the seat. @returns false where another one has it by now */
export async function saveState(
  queries: Queries,
  { name, holder, state }: { readonly name: string; readonly holder: string; readonly state: unknown },
): Promise<boolean> {
  const rows = await queries.query(
    `insert into monitor_states (name, state, saved_at)
     select $1, $3, clock_timestamp() from monitor_states where name = $4 and state ->> 'holder' = $2
     on conflict (name) do update set state = excluded.state, saved_at = excluded.saved_at
     returning name`,
    [name, holder, JSON.stringify(state), SEAT],
  )
  return rows.length > 0
}

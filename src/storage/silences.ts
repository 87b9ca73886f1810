import type { Silence } from '../contracts/monitor.ts'
import type { Database } from './database.ts'

/** @throws HelixError as `Database.query` */
export async function insertSilence(database: Database, silence: Silence): Promise<void> {
  const { id, matchers, untilMs, reason, by, createdAtMs } = silence
  await database.query(
    `insert into alert_silences (id, matchers, until, reason, made_by, created_at) values ($1, $2, $3, $4, $5, $6)`,
    [id, JSON.stringify(matchers), new Date(untilMs), reason, by, new Date(createdAtMs)],
  )
}

/** Those that have not ended, the one that ends first first. @throws HelixError as `Database.query` */
export async function listSilences(database: Database, nowMs: number): Promise<readonly Silence[]> {
  const rows = await database.query<SilenceRow>(
    'select * from alert_silences where until > $1 order by until, id',
    [new Date(nowMs)],
  )
  return rows.map((row) => ({
    id: row.id,
    matchers: row.matchers,
    untilMs: row.until.getTime(),
    reason: row.reason,
    by: row.made_by,
    createdAtMs: row.created_at.getTime(),
  }))
}

/** Ends it. @returns false where there is none that has not ended. @throws HelixError as `Database.query` */
export async function endSilence(
  database: Database,
  { id, nowMs }: { readonly id: string; readonly nowMs: number },
): Promise<boolean> {
  // Kept until its time, so that it can be read later who was told nothing and why.
  const rows = await database.query(
    'update alert_silences set until = $2 where id = $1 and until > $2 returning id',
    [id, new Date(nowMs)],
  )
  return rows.length > 0
}

/** Forgets what ended before that. @throws HelixError as `Database.query` */
export async function dropOldSilences(database: Database, beforeMs: number): Promise<void> {
  await database.query('delete from alert_silences where until < $1', [new Date(beforeMs)])
}

interface SilenceRow {
  readonly id: string
  readonly matchers: Readonly<Record<string, string>>
  readonly until: Date
  readonly reason: string
  readonly made_by: string
  readonly created_at: Date
  readonly [column: string]: unknown
}

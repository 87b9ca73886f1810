import { createHash } from 'node:crypto'
import { toDate } from './page.ts'
import type { TenantQueries } from './tenancy.ts'

/** One change, before it has its place in the chain. */
export interface AuditEvent {
  readonly organisationId: string
  readonly atMs: number
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly projectId: string | undefined
  readonly requestId: string | undefined
  readonly source: string | undefined
  /** JSON; never a secret. */
  readonly details: Readonly<Record<string, unknown>>
}

export interface AuditEntry extends AuditEvent {
  /** From 1, without gaps. */
  readonly number: number
  readonly hash: Buffer
}

/** What the first entry of each chain follows. */
const GENESIS = Buffer.alloc(32)

/**
 * Adds to an organisation's chain, in the transaction of the change itself: there is neither without the other.
 * Two changes at a time in one organisation wait for each other here, so this belongs at the end of a transaction.
 */
export async function appendAudit(queries: TenantQueries, event: AuditEvent): Promise<void> {
  const { organisationId } = event
  await queries.query(
    'insert into audit_heads (organisation_id, number, hash) values ($1, 0, $2) on conflict do nothing',
    [organisationId, GENESIS],
  )
  const [head] = await queries.query<HeadRow>(
    'select number, hash from audit_heads where organisation_id = $1 for update',
    [organisationId],
  )
  const previous = head?.hash ?? GENESIS
  const number = Number(head?.number ?? 0) + 1
  const hash = hashOf({ ...event, number }, previous)
  await queries.query(
    `insert into audit_log (organisation_id, number, at, actor, action, target, project_id, request_id, source,
                            details, previous_hash, hash)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
    [
      organisationId,
      number,
      new Date(event.atMs),
      event.actor,
      event.action,
      event.target,
      event.projectId ?? null,
      event.requestId ?? null,
      event.source ?? null,
      JSON.stringify(event.details),
      previous,
      hash,
    ],
  )
  await queries.query('insert into audit_search (organisation_id, number, text) values ($1, $2, $3)', [
    organisationId,
    number,
    [event.actor, event.action, event.target, event.requestId ?? '', JSON.stringify(event.details)].join(' '),
  ])
  await queries.query('update audit_heads set number = $2, hash = $3 where organisation_id = $1', [
    organisationId,
    number,
    hash,
  ])
}

export interface AuditFilter {
  readonly organisationId: string
  /** Anywhere in the entry, in any case of letters. */
  readonly text?: string | undefined
  readonly actor?: string | undefined
  readonly action?: string | undefined
  readonly target?: string | undefined
  readonly fromMs?: number | undefined
  readonly toMs?: number | undefined
  /** Only entries before this one. */
  readonly beforeNumber?: number | undefined
  readonly limit: number
}

/** Newest first. */
export async function searchAudit(
  queries: TenantQueries,
  filter: AuditFilter,
): Promise<readonly AuditEntry[]> {
  const found =
    filter.text === undefined
      ? ''
      : `and number in (select number from audit_search where organisation_id = $1 and text ilike $9)`
  const rows = await queries.query<EntryRow>(
    `select * from audit_log
     where organisation_id = $1
       and ($2::text is null or actor = $2) and ($3::text is null or action = $3)
       and ($4::text is null or target = $4)
       and ($5::timestamptz is null or at >= $5) and ($6::timestamptz is null or at < $6)
       and ($7::bigint is null or number < $7) ${found}
     order by number desc limit $8`,
    [
      filter.organisationId,
      filter.actor ?? null,
      filter.action ?? null,
      filter.target ?? null,
      toDate(filter.fromMs),
      toDate(filter.toMs),
      filter.beforeNumber ?? null,
      filter.limit,
      ...(filter.text === undefined ? [] : [`%${escapeLike(filter.text)}%`]),
    ],
  )
  return rows.map(toEntry)
}

export interface ChainReport {
  readonly entries: number
  /** Hash of the newest entry. */
  readonly head: Buffer
  /** The first thing that is wrong; undefined when the chain is whole. */
  readonly problem: string | undefined
}

/** Entries that are read at a time. */
const STRIDE = 1_000

/** Computes every hash of an organisation's chain anew. */
export async function verifyAudit(queries: TenantQueries, organisationId: string): Promise<ChainReport> {
  const [stored] = await queries.query<HeadRow>(
    'select number, hash from audit_heads where organisation_id = $1',
    [organisationId],
  )
  // What is added meanwhile lies beyond the head that was read, and is left for the next time.
  const expected = Number(stored?.number ?? 0)
  let head: Buffer = GENESIS
  let entries = 0
  while (entries < expected) {
    const rows = await queries.query<EntryRow>(
      'select * from audit_log where organisation_id = $1 and number > $2 and number <= $3 order by number limit $4',
      [organisationId, entries, expected, STRIDE],
    )
    for (const row of rows) {
      const problem = problemOf(row, entries + 1, head)
      if (problem) return { entries, head, problem }
      head = row.hash
      entries += 1
    }
    if (rows.length === 0) {
      return {
        entries,
        head,
        problem: `the newest entries are missing: ${expected} were made, ${entries} are there`,
      }
    }
  }
  const forged = !(stored?.hash ?? GENESIS).equals(head)
  return { entries, head, problem: forged ? 'the newest entry is not the one that was made' : undefined }
}

function problemOf(row: EntryRow, number: number, previous: Buffer): string | undefined {
  if (Number(row.number) !== number) return `entry ${number} is missing`
  if (!row.previous_hash.equals(previous)) return `entry ${number} does not follow the one before it`
  if (!hashOf(toEntry(row), previous).equals(row.hash)) return `entry ${number} was changed`
  return undefined
}

function hashOf(entry: AuditEvent & { readonly number: number }, previous: Buffer): Buffer {
  const fields = [
    entry.organisationId,
    entry.number,
    entry.atMs,
    entry.actor,
    entry.action,
    entry.target,
    entry.projectId ?? null,
    entry.requestId ?? null,
    entry.source ?? null,
    sorted(entry.details),
  ]
  return createHash('sha256').update(previous).update(JSON.stringify(fields)).digest()
}

/** The database keeps an object's fields in an order of its own. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  const fields = Object.entries(value).filter(([, each]) => each !== undefined)
  return Object.fromEntries(
    fields.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, each]) => [key, sorted(each)]),
  )
}

function escapeLike(text: string): string {
  return text.replaceAll(/[\\%_]/g, '\\$&')
}

interface HeadRow {
  readonly number: string
  readonly hash: Buffer
}

interface EntryRow extends HeadRow {
  readonly organisation_id: string
  readonly at: Date
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly project_id: string | null
  readonly request_id: string | null
  readonly source: string | null
  readonly details: Record<string, unknown>
  readonly previous_hash: Buffer
}

function toEntry(row: EntryRow): AuditEntry {
  return {
    organisationId: row.organisation_id,
    number: Number(row.number),
    atMs: row.at.getTime(),
    actor: row.actor,
    action: row.action,
    target: row.target,
    projectId: row.project_id ?? undefined,
    requestId: row.request_id ?? undefined,
    source: row.source ?? undefined,
    details: row.details,
    hash: row.hash,
  }
}

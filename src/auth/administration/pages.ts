import { HelixError } from '../../core/errors.ts'
import type { Page, Position } from '../../storage/page.ts'

/** What the storage reads for a page: one more than asked for, to know whether there is a next one. */
export function pageOf({ limit, after }: { limit: number; after?: string | undefined }): Page {
  return { limit: limit + 1, after: after === undefined ? undefined : parsePosition(after) }
}

/** The page as the caller sees it. */
export function listOf<Row extends Position, View>(
  rows: readonly Row[],
  { limit }: { limit: number },
  view: (row: Row) => View,
): { data: View[]; next?: string } {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  const data = shown.map(view)
  return rows.length > limit && last ? { data, next: `${last.createdAtMs}-${last.id}` } : { data }
}

/** Absent where there is none, as in JSON. */
export function optional<Name extends string, Value>(
  name: Name,
  value: Value | undefined,
): { [key in Name]?: Value } {
  return (value === undefined ? {} : { [name]: value }) as { [key in Name]?: Value }
}

export function isoTime(atMs: number): string {
  return new Date(atMs).toISOString()
}

export function optionalTime<Name extends string>(name: Name, atMs: number | undefined) {
  return optional(name, atMs === undefined ? undefined : isoTime(atMs))
}

function parsePosition(after: string): Position {
  const [, createdAtMs, id] = /^(\d{1,15})-(\w{1,64})$/.exec(after) ?? []
  if (createdAtMs !== undefined && id !== undefined) return { createdAtMs: Number(createdAtMs), id }
  throw new HelixError('invalid_value', "'after' must be the `next` of an earlier page.", { param: 'after' })
}

/** A part of a list that is ordered by when its rows were made. */
export interface Page {
  /** Rows at most. */
  readonly limit: number
  /** The last row of the page before. */
  readonly after?: Position | undefined
}

export interface Position {
  readonly createdAtMs: number
  readonly id: string
}

/** What a statement with `(created_at, id) < ($1, $2)` or `>` takes for a page. */
export function positionValues({ after }: Page): [Date | null, string | null] {
  return after ? [new Date(after.createdAtMs), after.id] : [null, null]
}

export function toDate(atMs: number | undefined): Date | null {
  return atMs === undefined ? null : new Date(atMs)
}

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

/** What `(created_at, id) < ($1, $2)` takes for a page of a list that is newest first. */
export function beforePosition({ after }: Page): [Date | 'infinity', string] {
  return after ? [new Date(after.createdAtMs), after.id] : ['infinity', '']
}

/** What `(created_at, id) > ($1, $2)` takes for a page of a list that is oldest first. */
export function afterPosition({ after }: Page): [Date | '-infinity', string] {
  return after ? [new Date(after.createdAtMs), after.id] : ['-infinity', '']
}

export function toDate(atMs: number | undefined): Date | null {
  return atMs === undefined ? null : new Date(atMs)
}

import type { Queries } from './database.ts'

/** A figure with the labels by which one of its series differs from the others. */
export interface SeriesKey {
  readonly figure: string
  readonly labels: Readonly<Record<string, string>>
}

/** A point as it lies in the database; `atMs` is a whole multiple of its resolution. */
export interface StoredPoint {
  readonly seriesId: number
  readonly atMs: number
  readonly value: number
}

export interface RollUp {
  readonly fineSeconds: number
  readonly coarseSeconds: number
  /** Whole coarse spans. */
  readonly fromMs: number
  readonly toMs: number
}

/** Of how many points at most one statement takes or drops: a fraction of a second of work. */
export const HISTORY_BATCH = 5_000

/** The number of each series in the order given; those that were not there are made. */
export async function seriesIds(queries: Queries, keys: readonly SeriesKey[]): Promise<readonly number[]> {
  const figures = keys.map(({ figure }) => figure)
  const labels = keys.map((one) => JSON.stringify(one.labels))
  const find = () =>
    queries.query<{ id: number | null }>(
      `select id from unnest($1::text[], $2::jsonb[]) with ordinality as given (figure, labels, place)
       left join history_series using (figure, labels) order by place`,
      [figures, labels],
    )
  const found = await find()
  if (found.every(({ id }) => id !== null)) return found.map(({ id }) => id ?? 0)
  await queries.query(
    `insert into history_series (figure, labels)
     select distinct figure, labels from unnest($1::text[], $2::jsonb[]) as given (figure, labels)
     on conflict (figure, labels) do nothing`,
    [figures, labels],
  )
  return (await find()).map(({ id }) => id ?? 0)
}

/** Writes points of the finest resolution; what is there already stays as it is. @returns how many were new */
export async function insertPoints(
  queries: Queries,
  resolutionSeconds: number,
  points: readonly StoredPoint[],
): Promise<number> {
  const rows = await queries.query(
    `insert into history_points (series_id, resolution, at, value, low, high)
     select series_id, $1, to_timestamp(at_ms / 1000), value, value, value
     from unnest($2::integer[], $3::double precision[], $4::double precision[]) as given (series_id, at_ms, value)
     -- Nobody asks for a series any more that was dropped meanwhile.
     where exists (select from history_series where id = series_id)
     on conflict (series_id, resolution, at) do nothing returning 1`,
    [
      resolutionSeconds,
      points.map(({ seriesId }) => seriesId),
      points.map(({ atMs }) => atMs),
      points.map(({ value }) => value),
    ],
  )
  return rows.length
}

/**
 * Makes coarse points of the finer ones within them. As often as one likes: the same fine points give the same coarse ones.
 * @returns how many
 */
export async function rollUp(
  queries: Queries,
  { fineSeconds, coarseSeconds, fromMs, toMs }: RollUp,
): Promise<number> {
  const rows = await queries.query(
    `insert into history_points (series_id, resolution, at, value, low, high)
     select series_id, $2::integer, date_bin($2::integer * interval '1 second', at, 'epoch'), avg(value), min(low), max(high)
     from history_points where resolution = $1 and at >= $3 and at < $4
     group by 1, 3
     on conflict (series_id, resolution, at) do update
       set value = excluded.value, low = excluded.low, high = excluded.high
     returning 1`,
    [fineSeconds, coarseSeconds, new Date(fromMs), new Date(toMs)],
  )
  return rows.length
}

/** When the newest point of a resolution begins. */
export async function newestPoint(queries: Queries, resolutionSeconds: number): Promise<number | undefined> {
  return pointAt(queries, 'desc', resolutionSeconds)
}

/** When the oldest point of a resolution begins. */
export async function oldestPoint(queries: Queries, resolutionSeconds: number): Promise<number | undefined> {
  return pointAt(queries, 'asc', resolutionSeconds)
}

/** Drops the oldest points from before that moment, a batch of them. @returns how many */
export async function dropPoints(
  queries: Queries,
  resolutionSeconds: number,
  beforeMs: number,
): Promise<number> {
  const rows = await queries.query(
    `delete from history_points using (
       select series_id, resolution, at from history_points where resolution = $1 and at < $2 order by at limit $3
     ) as old
     where history_points.series_id = old.series_id and history_points.resolution = old.resolution
       and history_points.at = old.at
     returning 1`,
    [resolutionSeconds, new Date(beforeMs), HISTORY_BATCH],
  )
  return rows.length
}

/** Drops series that have no points left, apart from those that are written at present. */
export async function dropEmptySeries(queries: Queries, inUse: readonly number[]): Promise<void> {
  await queries.query(
    `delete from history_series where id <> all ($1)
       and not exists (select from history_points where series_id = history_series.id)`,
    [inUse],
  )
}

export interface HistorySpan {
  /** All where undefined. */
  readonly figures: readonly string[] | undefined
  readonly resolutionSeconds: number
  readonly fromMs: number
  readonly toMs: number
}

export interface StoredSeries extends SeriesKey {
  /** In the order of time. */
  readonly points: readonly {
    readonly atMs: number
    readonly value: number
    readonly low: number
    readonly high: number
  }[]
}

/**
 * A row per series and not per point, since a thousand points are read quickly as four arrays. Each series is looked up by
 * itself, for its points lie together.
 */
export async function readHistory(
  queries: Queries,
  { figures, resolutionSeconds, fromMs, toMs }: HistorySpan,
): Promise<readonly StoredSeries[]> {
  const rows = await queries.query<HistoryRow>(
    `select figure, labels, points.* from history_series cross join lateral (
       select array_agg(extract(epoch from at)::double precision order by at) as at,
         array_agg(value order by at) as value, array_agg(low order by at) as low, array_agg(high order by at) as high
       from history_points where series_id = id and resolution = $2 and at >= $3 and at < $4
     ) as points
     where ($1::text[] is null or figure = any ($1)) and points.at is not null
     order by figure, labels`,
    [figures ?? null, resolutionSeconds, new Date(fromMs), new Date(toMs)],
  )
  return rows.map(({ figure, labels, at, value, low, high }) => ({
    ...{ figure, labels },
    points: at.map((seconds, place) => ({
      atMs: seconds * 1_000,
      value: value[place] ?? 0,
      low: low[place] ?? 0,
      high: high[place] ?? 0,
    })),
  }))
}

interface HistoryRow {
  readonly figure: string
  readonly labels: Readonly<Record<string, string>>
  readonly at: readonly number[]
  readonly value: readonly number[]
  readonly low: readonly number[]
  readonly high: readonly number[]
  readonly [column: string]: unknown
}

async function pointAt(
  queries: Queries,
  order: 'asc' | 'desc',
  resolutionSeconds: number,
): Promise<number | undefined> {
  const [row] = await queries.query<{ at: Date }>(
    `select at from history_points where resolution = $1 order by resolution ${order}, at ${order} limit 1`,
    [resolutionSeconds],
  )
  return row?.at.getTime()
}

import type { HistoryQuery, HistorySeries } from '../contracts/monitor.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Database } from '../storage/database.ts'
import { readHistory } from '../storage/history.ts'
import { FIGURES } from './figures.ts'
import { chooseResolution, RESOLUTION_MS, type Retention, thinned } from './resolutions.ts'

export interface HistoryReaderOptions {
  readonly database: Database
  readonly retention: Retention
  readonly clock: Clock
}

const BY_NAME = new Map(FIGURES.map((figure, place) => [figure.name, { ...figure, place }]))

/**
 * Key figures over a span of time, in the order of the table of figures. The newest points are as old as the resolution:
 * a coarse one is made when its span is over.
 * @throws HelixError `invalid_value`, `storage_unavailable`
 */
export async function readFigures(
  { database, retention, clock }: HistoryReaderOptions,
  query: HistoryQuery,
): Promise<readonly HistorySeries[]> {
  const { figures, fromMs, toMs } = query
  if (!(fromMs < toMs)) throw new HelixError('invalid_value', 'The span ends before it begins.')
  const unknown = figures?.filter((name) => !BY_NAME.has(name)) ?? []
  if (unknown.length > 0) {
    const names = [...BY_NAME.keys()].join(', ')
    throw new HelixError(
      'invalid_value',
      `There is no figure '${unknown.join("', '")}'. There are ${names}.`,
      {
        param: 'figures',
      },
    )
  }
  const resolution = query.resolution ?? chooseResolution(query, retention, clock.now())
  const resolutionSeconds = RESOLUTION_MS[resolution] / 1_000
  const stored = await readHistory(database, { figures, resolutionSeconds, fromMs, toMs })
  return stored
    .flatMap(({ figure, labels, points }) => {
      // One that an older or newer program wrote, and that this one knows nothing of.
      const known = BY_NAME.get(figure)
      if (!known) return []
      const { title, unit, place } = known
      return [{ place, series: { figure, title, unit, labels, resolution, points: thinned(points) } }]
    })
    .sort((one, other) => one.place - other.place)
    .map(({ series }) => series)
}

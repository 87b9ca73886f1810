import type { KpiQuery, KpiReport } from '../contracts/monitor.ts'
import type { DeviceView } from '../contracts/pool.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Database } from '../storage/database.ts'
import { readHistory } from '../storage/history.ts'
import {
  type HourSums,
  type KpiFilter,
  type KpiSums,
  kpiDetails,
  kpiHours,
  kpiSums,
  withKpis,
} from '../storage/kpis.ts'
import { deviceCosts, devicePrice, MEMORY_FIGURES } from './device-costs.ts'
import { forecastMonth, LEARNED_HOURS, monthStart } from './forecast-month.ts'
import { kpiRows } from './kpi-rows.ts'

export interface KpisOptions {
  readonly database: Database
  readonly clock: Clock
  /** What an hour of a device costs, in billionths, by its id, its kind or `*`; none: what devices cost is not reckoned. */
  readonly deviceCosts: Readonly<Record<string, number>>
  /** How long the history has a point for each minute. */
  readonly minutesKeptMs: number
  /** What kinds devices are of, as far as is known now. */
  readonly devices: () => Promise<readonly Pick<DeviceView, 'id' | 'kind'>[]>
}

const HOUR_MS = 3_600_000
const SPAN_MAX_MS = 400 * 24 * HOUR_MS
/** Up to a day by the minute, else by the hour: some thousand points of each series at most. */
const BY_MINUTES_MAX_MS = 24 * HOUR_MS

/** Figures of the business, from what requests cost and what lay on devices: behind `MonitorClient.kpis`. */
export class Kpis {
  constructor(private readonly options: KpisOptions) {}

  /** @throws HelixError `invalid_value`, `not_found`, `storage_unavailable` */
  async report(query: KpiQuery): Promise<KpiReport> {
    const filter = filterOf(query)
    const { database, clock } = this.options
    const nowMs = clock.now()
    const forecasts = filter.toMs > monthStart(new Date(nowMs), 0) && filter.toMs >= nowMs
    const found = await withKpis(database, filter.organisationId, async (queries) => {
      const sums = await kpiSums(queries, filter)
      const organisationIds = [...new Set(sums.map(({ organisationId }) => organisationId))]
      const details = await kpiDetails(queries, organisationIds, filter)
      const hours = forecasts ? await kpiHours(queries, { ...filter, ...learnedSpan(nowMs) }) : undefined
      return { sums, details, hours }
    })
    const devices = await this.deviceCosts(filter, found.sums)
    return {
      ...kpiRows({ ...found, ...devices }),
      forecast:
        found.hours && isKnownForADay(found.hours, nowMs) ? forecastMonth(found.hours, nowMs) : undefined,
    }
  }

  /** Whose part of a device is whose depends on everybody who used its models. */
  private async deviceCosts(filter: KpiFilter, sums: readonly KpiSums[]) {
    const { database, deviceCosts: prices } = this.options
    if (Object.keys(prices).length === 0) return { deviceCosts: undefined, everybody: sums }
    const isPart = filter.organisationId !== undefined || filter.projectId !== undefined
    const whole = { ...filter, organisationId: undefined, projectId: undefined, groupBy: 'model' } as const
    const everybody = isPart
      ? await withKpis(database, undefined, (queries) => kpiSums(queries, whole))
      : sums
    const kinds = new Map((await this.options.devices()).map(({ id, kind }) => [id, kind]))
    const { fromMs, toMs } = filter
    const hasMinutes = fromMs >= this.options.clock.now() - this.options.minutesKeptMs
    const pointMs = hasMinutes && toMs - fromMs <= BY_MINUTES_MAX_MS ? 60_000 : HOUR_MS
    const span = { figures: MEMORY_FIGURES, resolutionSeconds: pointMs / 1_000, fromMs, toMs }
    const costs = deviceCosts({
      series: await readHistory(database, span),
      pointMs,
      priceOf: (id) => devicePrice(prices, { id, kind: kinds.get(id) ?? kindByName(id) }),
    })
    return { deviceCosts: costs, everybody }
  }
}

/** Of less nothing can be said about how much days differ, and a range would be as narrow as what is known is little. */
function isKnownForADay([first]: readonly HourSums[], nowMs: number): boolean {
  return first !== undefined && first.atMs <= nowMs - 24 * HOUR_MS
}

/** Of a device that is not there now: the processors of a node are named after their kind. */
function kindByName(id: string): string | undefined {
  return id.endsWith('/cpu') ? 'cpu' : undefined
}

/** Whole hours, for that is what sums are kept of: the first and the last that the span touches count. */
function filterOf({ organisationId, projectId, fromMs, toMs, groupBy }: KpiQuery): KpiFilter {
  if (!(fromMs >= 0 && fromMs < toMs && toMs - fromMs <= SPAN_MAX_MS))
    throw new HelixError('invalid_value', 'The span must begin before it ends, and last 400 days at most.', {
      param: 'fromMs',
    })
  const hour = (atMs: number, round: (hours: number) => number) => round(atMs / HOUR_MS) * HOUR_MS
  return { organisationId, projectId, groupBy, fromMs: hour(fromMs, Math.floor), toMs: hour(toMs, Math.ceil) }
}

/** What the forecast looks at: the month until now, and the weeks that it learns of. */
function learnedSpan(nowMs: number): { readonly fromMs: number; readonly toMs: number } {
  const hourMs = Math.floor(nowMs / HOUR_MS) * HOUR_MS
  const fromMs = Math.min(monthStart(new Date(nowMs), 0), hourMs - LEARNED_HOURS * HOUR_MS)
  return { fromMs, toMs: hourMs + HOUR_MS }
}

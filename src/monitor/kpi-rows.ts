import type { KpiReport, KpiRow } from '../contracts/monitor.ts'
import type { KpiDetails, KpiSums } from '../storage/kpis.ts'

export interface KpiParts {
  readonly sums: readonly KpiSums[]
  readonly details: readonly KpiDetails[]
  /** What the devices cost on account of each model; undefined where no device has a price. */
  readonly deviceCosts: ReadonlyMap<string, number> | undefined
  /** Tokens of each model by everybody, for whose part of its cost is whose. */
  readonly everybody: readonly KpiSums[]
}

/** One row for each group and one for all, of what the database and the history say. */
export function kpiRows({ sums, details, deviceCosts, everybody }: KpiParts): Omit<KpiReport, 'forecast'> {
  const detailsOf = new Map(details.map((one) => [one.group, one]))
  const shared = deviceCosts && new Shares(deviceCosts, everybody)
  const groups = new Map<string, KpiSums[]>()
  for (const one of sums) groups.set(one.group, [...(groups.get(one.group) ?? []), one])
  const rows = [...groups].map(([group, own]) => rowOf(group, own, { details: detailsOf.get(group), shared }))
  rows.sort((one, other) => costOf(other) - costOf(one) || other.requests - one.requests)
  return { total: rowOf('total', sums, { details: detailsOf.get(undefined), shared }), rows }
}

function rowOf(
  group: string,
  sums: readonly KpiSums[],
  { details, shared }: { readonly details: KpiDetails | undefined; readonly shared: Shares | undefined },
): KpiRow {
  const sum = (figure: (one: KpiSums) => number) => sums.reduce((all, one) => all + figure(one), 0)
  const own = shared && sums.filter(({ model }) => shared.isOwn(model))
  const deviceCost = own && Math.round(own.reduce((all, one) => all + (shared?.of(one) ?? 0), 0))
  const ownTokens = own?.reduce((all, { completionTokens }) => all + completionTokens, 0) ?? 0
  return {
    group,
    requests: sum(({ requests }) => requests),
    errors: sum(({ errors }) => errors),
    promptTokens: sum(({ promptTokens }) => promptTokens),
    cachedTokens: sum(({ cachedTokens }) => cachedTokens),
    completionTokens: sum(({ completionTokens }) => completionTokens),
    cacheHitRatio: details && details.requests > 0 ? details.cacheHits / details.requests : 0,
    cost: sum(({ cost }) => cost),
    deviceCost,
    deviceCostPerMillionTokens:
      deviceCost === undefined || ownTokens === 0 ? undefined : Math.round((deviceCost / ownTokens) * 1e6),
    durationP50Ms: details?.durationP50Ms,
    durationP95Ms: details?.durationP95Ms,
    firstTokenP50Ms: details?.firstTokenP50Ms,
    firstTokenP95Ms: details?.firstTokenP95Ms,
    activeUsers: details?.activeUsers ?? 0,
  }
}

/** Who bears how much of what a model costs: by the tokens that it made for them, or read where it makes none. */
class Shares {
  private readonly completion = new Map<string, number>()
  private readonly prompt = new Map<string, number>()

  constructor(
    private readonly costs: ReadonlyMap<string, number>,
    everybody: readonly KpiSums[],
  ) {
    for (const { model, completionTokens, promptTokens } of everybody) {
      this.completion.set(model, (this.completion.get(model) ?? 0) + completionTokens)
      this.prompt.set(model, (this.prompt.get(model) ?? 0) + promptTokens)
    }
  }

  isOwn(model: string): boolean {
    return this.costs.has(model)
  }

  of({ model, completionTokens, promptTokens }: KpiSums): number {
    const cost = this.costs.get(model) ?? 0
    const made = this.completion.get(model) ?? 0
    const read = this.prompt.get(model) ?? 0
    if (made > 0) return (cost * completionTokens) / made
    return read > 0 ? (cost * promptTokens) / read : 0
  }
}

function costOf({ cost, deviceCost }: KpiRow): number {
  return cost + (deviceCost ?? 0)
}

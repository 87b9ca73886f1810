/** A series of the history: memory of a model on a device, or of a device as a whole. */
export interface MemorySeries {
  readonly figure: string
  readonly labels: Readonly<Record<string, string>>
  readonly points: readonly { readonly atMs: number; readonly value: number }[]
}

export interface DeviceCostParts {
  /** Of `MEMORY_FIGURES`, over the span in question. */
  readonly series: readonly MemorySeries[]
  /** Time that a point stands for. */
  readonly pointMs: number
  /** What an hour of that device costs, in billionths; undefined where it has no price. */
  readonly priceOf: (device: string) => number | undefined
}

/** The figures of the history that this is reckoned from. */
export const MEMORY_FIGURES = ['model-memory', 'device-memory'] as const

const HOUR_MS = 3_600_000

/**
 * What devices cost on account of each model, in billionths: the price of the device for the time that the model lay on it,
 * by the share of the device's memory that it took. Memory that nobody took is nobody's cost. Models that lay on no device
 * with a price are left out.
 */
export function deviceCosts({ series, pointMs, priceOf }: DeviceCostParts): ReadonlyMap<string, number> {
  const totals = new Map<string, ReadonlyMap<number, number>>()
  for (const { figure, labels, points } of series) {
    if (figure !== 'device-memory' || labels['kind'] !== 'total') continue
    totals.set(labels['device'] ?? '', new Map(points.map(({ atMs, value }) => [atMs, value])))
  }
  const costs = new Map<string, number>()
  for (const { figure, labels, points } of series) {
    const { model, device } = labels
    if (figure !== 'model-memory' || model === undefined || device === undefined) continue
    const price = priceOf(device)
    if (price === undefined) continue
    const total = totals.get(device)
    const shares = points.map(({ atMs, value }) => shareOf(value, total?.get(atMs)))
    const hours = (shares.reduce((sum, share) => sum + share, 0) * pointMs) / HOUR_MS
    costs.set(model, (costs.get(model) ?? 0) + price * hours)
  }
  return costs
}

/** A model that takes more than the device says that it has takes all of it. */
function shareOf(bytes: number, totalBytes: number | undefined): number {
  return totalBytes === undefined || totalBytes <= 0 ? 0 : Math.min(1, bytes / totalBytes)
}

/** The price by the device's id, else by its kind, else that of any. */
export function devicePrice(
  prices: Readonly<Record<string, number>>,
  { id, kind }: { readonly id: string; readonly kind: string | undefined },
): number | undefined {
  const priced = (name: string | undefined) =>
    name !== undefined && Object.hasOwn(prices, name) ? prices[name] : undefined
  return priced(id) ?? priced(kind) ?? priced('*')
}

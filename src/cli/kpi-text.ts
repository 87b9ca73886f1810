import type { KpiRow, MonthForecast, Range } from '../contracts/monitor.ts'
import { table } from './output.ts'

type Money = 'cost' | 'deviceCost' | 'deviceCostPerMillionTokens'
type Maybe = 'durationP50Ms' | 'durationP95Ms' | 'firstTokenP50Ms' | 'firstTokenP95Ms'

/** Business figures as they are shown, whoever they are for. Money is a decimal number as text. */
export interface ShownKpis {
  readonly total: ShownKpiRow
  readonly rows: readonly ShownKpiRow[]
  readonly forecast?: ShownForecast | undefined
}

export type ShownKpiRow = Omit<KpiRow, Money | Maybe | 'cachedTokens'> & {
  readonly [figure in Maybe]?: number | undefined
} & {
  readonly cost: string
  /** Undefined where devices have no prices, or are nobody's business. */
  readonly deviceCost?: string | undefined
  readonly deviceCostPerMillionTokens?: string | undefined
}

export type ShownForecast = Omit<MonthForecast, 'cost'> & {
  readonly cost: { readonly [part in keyof Range]: string }
}

interface Column {
  readonly heading: string
  readonly text: (row: ShownKpiRow) => string
}

const BEFORE_DEVICES: readonly Column[] = [
  { heading: 'REQUESTS', text: ({ requests }) => countText(requests) },
  { heading: 'ERRORS', text: ({ errors }) => countText(errors) },
  { heading: 'PROMPT', text: ({ promptTokens }) => countText(promptTokens) },
  { heading: 'COMPLETION', text: ({ completionTokens }) => countText(completionTokens) },
  { heading: 'HITS', text: ({ cacheHitRatio }) => `${(cacheHitRatio * 100).toFixed(1)} %` },
  { heading: 'COST', text: ({ cost }) => moneyText(cost) },
]
const DEVICES: readonly Column[] = [
  { heading: 'DEVICES', text: ({ deviceCost }) => optional(deviceCost, moneyText) },
  {
    heading: 'A MILLION TOKENS',
    text: ({ deviceCostPerMillionTokens }) => optional(deviceCostPerMillionTokens, moneyText),
  },
]
const AFTER_DEVICES: readonly Column[] = [
  { heading: 'P50', text: ({ durationP50Ms }) => optional(durationP50Ms, latencyText) },
  { heading: 'P95', text: ({ durationP95Ms }) => optional(durationP95Ms, latencyText) },
  { heading: 'FIRST P50', text: ({ firstTokenP50Ms }) => optional(firstTokenP50Ms, latencyText) },
  { heading: 'FIRST P95', text: ({ firstTokenP95Ms }) => optional(firstTokenP95Ms, latencyText) },
  { heading: 'USERS', text: ({ activeUsers }) => countText(activeUsers) },
]

/** A table with the sums in its last line, and what the month will come to. */
export function kpiText({ total, rows, forecast }: ShownKpis, by: string): string {
  if (total.requests === 0) return 'Nothing was asked for in that time.'
  const columns = [
    ...BEFORE_DEVICES,
    ...(total.deviceCost === undefined ? [] : DEVICES),
    ...AFTER_DEVICES,
  ] satisfies readonly Column[]
  const figures = table(
    [by.toUpperCase(), ...columns.map(({ heading }) => heading)],
    [...rows, total].map((row) => [row.group, ...columns.map(({ text }) => text(row))]),
  )
  return forecast ? `${figures}\n\n${forecastText(forecast)}` : figures
}

function forecastText({ month, requests, tokens, cost }: ShownForecast): string {
  const line = <Amount>(
    name: string,
    { soFar, likely, low, high }: { readonly [part in keyof Range]: Amount },
    text: (amount: Amount) => string,
  ) => [name, text(likely), `${text(low)} to ${text(high)}`, text(soFar)]
  return table(
    [month, 'LIKELY', 'IN 8 OF 10 SUCH MONTHS', 'SO FAR'],
    [line('requests', requests, countText), line('tokens', tokens, countText), line('cost', cost, moneyText)],
  )
}

function countText(count: number): string {
  return String(Math.round(count))
}

function optional<Value>(value: Value | undefined, text: (value: Value) => string): string {
  return value === undefined ? '-' : text(value)
}

function latencyText(milliseconds: number): string {
  return milliseconds < 10_000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1_000).toFixed(1)} s`
}

/** To four decimals, for people. */
function moneyText(decimal: string): string {
  return String(Number(Number(decimal).toFixed(4)))
}

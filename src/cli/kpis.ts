import { type Command, Option } from 'commander'
import { parseDuration } from '../config/quantities.ts'
import type { KpiReport, KpiRow, Range } from '../contracts/monitor.ts'
import { HelixError } from '../core/errors.ts'
import { formatMoney } from '../core/money.ts'
import { systemClock } from '../system.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { table } from './output.ts'

interface KpiFlags extends CommonOptions {
  readonly by: string
  readonly since: string
  readonly organisation?: string
  readonly project?: string
}

/** `helixflow kpis`: what the platform did for whom, and what it cost. */
export function kpisCommand(): Command {
  return command('kpis', 'requests, tokens, cost, latency and users, with a forecast of the month')
    .addOption(
      new Option('--by <what>', 'one row for each')
        .choices(['model', 'project', 'organisation'])
        .default('model'),
    )
    .option('--since <duration>', 'how far back, such as 24h or 30d', '30d')
    .option('--organisation <id>', 'of this one alone (default: all)')
    .option('--project <id>', 'of this one alone')
    .action((flags: KpiFlags) =>
      runCommand(flags, async ({ control, output }) => {
        const report = await control.get<KpiReport>(`/admin/v1/monitor/kpis?${parameters(flags)}`)
        output.result(report, () => textOf(report, flags.by))
        return 0
      }),
    )
}

function parameters({ by, since, organisation, project }: KpiFlags): URLSearchParams {
  const spanMs = parseDuration(since)
  if (spanMs === undefined || spanMs <= 0)
    throw new HelixError('invalid_arguments', `'${since}' is not a duration; write for example 24h or 30d.`)
  const toMs = Math.floor(systemClock.now())
  const query = new URLSearchParams({
    groupBy: by,
    fromMs: String(Math.floor(toMs - spanMs)),
    toMs: String(toMs),
  })
  if (organisation !== undefined) query.set('organisationId', organisation)
  if (project !== undefined) query.set('projectId', project)
  return query
}

function textOf({ total, rows, forecast }: KpiReport, by: string): string {
  const headings = [
    ...[
      by.toUpperCase(),
      'REQUESTS',
      'ERRORS',
      'PROMPT',
      'COMPLETION',
      'HITS',
      'COST',
      'DEVICES',
      '/M TOKENS',
    ],
    ...['P50', 'P95', 'FIRST P50', 'FIRST P95', 'USERS'],
  ]
  const figures = table(headings, [...rows, total].map(cells))
  if (!forecast) return figures
  const { month, requests, tokens, cost } = forecast
  const plain = (value: number) => String(Math.round(value))
  const lines = [
    `requests ${rangeText(requests, plain)}`,
    `tokens ${rangeText(tokens, plain)}`,
    `cost ${rangeText(cost, moneyText)}`,
  ]
  return `${figures}\n\n${month}, if it goes on like this (in 8 of 10 such months within the range):\n  ${lines.join('\n  ')}`
}

function cells(row: KpiRow): readonly string[] {
  return [
    row.group,
    String(row.requests),
    String(row.errors),
    String(row.promptTokens),
    String(row.completionTokens),
    `${(row.cacheHitRatio * 100).toFixed(1)}%`,
    moneyText(row.cost),
    optional(row.deviceCost, moneyText),
    optional(row.deviceCostPerMillionTokens, moneyText),
    optional(row.durationP50Ms, milliseconds),
    optional(row.durationP95Ms, milliseconds),
    optional(row.firstTokenP50Ms, milliseconds),
    optional(row.firstTokenP95Ms, milliseconds),
    String(row.activeUsers),
  ]
}

function rangeText({ soFar, likely, low, high }: Range, text: (value: number) => string): string {
  return `${text(likely)} (${text(low)} to ${text(high)}), so far ${text(soFar)}`
}

function optional(value: number | undefined, text: (value: number) => string): string {
  return value === undefined ? '-' : text(value)
}

function milliseconds(value: number): string {
  return value < 10_000 ? `${Math.round(value)}ms` : `${(value / 1_000).toFixed(1)}s`
}

/** To four decimals, for people. */
function moneyText(billionths: number): string {
  return formatMoney(Math.round(billionths / 1e5) * 1e5)
}

import { type Command, Option } from 'commander'
import type { KpiReport, KpiRow, MonthForecast } from '../contracts/monitor.ts'
import { formatMoney } from '../core/money.ts'
import { systemClock } from '../system.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { givenDuration } from './given-duration.ts'
import { kpiText, type ShownForecast, type ShownKpiRow } from './kpi-text.ts'

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
        output.result(report, () => kpiText(shown(report), flags.by))
        return 0
      }),
    )
}

function parameters({ by, since, organisation, project }: KpiFlags): URLSearchParams {
  const toMs = Math.floor(systemClock.now())
  return new URLSearchParams({
    groupBy: by,
    fromMs: String(Math.floor(toMs - givenDuration('--since', since))),
    toMs: String(toMs),
    ...(organisation !== undefined && { organisationId: organisation }),
    ...(project !== undefined && { projectId: project }),
  })
}

function shown({ total, rows, forecast }: KpiReport) {
  return { total: shownRow(total), rows: rows.map(shownRow), forecast: forecast && shownForecast(forecast) }
}

function shownRow({ cost, deviceCost, deviceCostPerMillionTokens, ...row }: KpiRow): ShownKpiRow {
  const money = (amount: number | undefined) => (amount === undefined ? undefined : formatMoney(amount))
  return {
    ...row,
    cost: formatMoney(cost),
    deviceCost: money(deviceCost),
    deviceCostPerMillionTokens: money(deviceCostPerMillionTokens),
  }
}

function shownForecast({ cost: { soFar, likely, low, high }, ...forecast }: MonthForecast): ShownForecast {
  const money = (amount: number) => formatMoney(Math.round(amount))
  return {
    ...forecast,
    cost: { soFar: money(soFar), likely: money(likely), low: money(low), high: money(high) },
  }
}

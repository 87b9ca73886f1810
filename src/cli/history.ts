import type { Command } from 'commander'
import type { HistorySeries } from '../contracts/monitor.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { givenDuration } from './given-duration.ts'
import { durationText, sizeText, table } from './output.ts'
import { sparkline } from './sparkline.ts'

type HistoryFlags = CommonOptions & { readonly since: string }

const LINE_WIDTH = 40

export function historyCommand(): Command {
  return command('history', 'key figures over the last hours: the course of each, and its newest value')
    .argument('[figure]', 'one of them, such as requests or first-token-p95')
    .option('--since <duration>', 'how far back', '1h')
    .action((figure: string | undefined, options: HistoryFlags) =>
      runCommand(options, async ({ control, output }) => {
        const toMs = Date.now()
        const fromMs = toMs - givenDuration('--since', options.since)
        const query = new URLSearchParams({
          ...{ fromMs: String(fromMs), toMs: String(toMs) },
          ...(figure !== undefined && { figures: figure }),
        })
        const { series } = await control.get<{ series: readonly HistorySeries[] }>(
          `/admin/v1/monitor/history?${query}`,
        )
        output.result(series, () =>
          series.length === 0
            ? 'Nothing was recorded in that time.'
            : table(['FIGURE', 'COURSE', 'LAST', 'LOW', 'HIGH', ''], series.map(row)),
        )
        return 0
      }),
    )
}

function row({ figure, title, unit, labels, points }: HistorySeries): string[] {
  const of = Object.values(labels).join(' ')
  const highs = points.map(({ high }) => high)
  return [
    of ? `${figure} ${of}` : figure,
    sparkline(highs, LINE_WIDTH),
    valueText(points.at(-1)?.value, unit),
    valueText(Math.min(...points.map(({ low }) => low)), unit),
    valueText(Math.max(...highs), unit),
    title,
  ]
}

function valueText(value: number | undefined, unit: string): string {
  if (value === undefined) return '-'
  if (unit === 'bytes') return sizeText(value)
  if (unit === 'ratio') return `${(value * 100).toFixed(1)} %`
  if (unit === 's') return value < 10 ? `${(value * 1_000).toPrecision(3)} ms` : durationText(value * 1_000)
  const number = Number.isInteger(value) ? String(value) : value.toPrecision(3)
  if (unit === '1/s') return `${number}/s`
  return unit === '' ? number : `${number} ${unit}`
}

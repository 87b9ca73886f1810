import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { MetricDeclaration } from '../src/core/metrics/declaration.ts'
import { GATEWAY_METRICS } from '../src/core/metrics/gateway-metrics.ts'
import { MONITOR_METRICS } from '../src/core/metrics/monitor-metrics.ts'
import { POOL_METRICS } from '../src/core/metrics/pool-metrics.ts'
import { PROCESS_METRICS } from '../src/core/metrics/process-metrics.ts'
import { REALTIME_METRICS } from '../src/core/metrics/realtime-metrics.ts'
import { STORAGE_METRICS } from '../src/core/metrics/storage-metrics.ts'
import { METRICS } from '../src/core/metrics.ts'

export const METRICS_PAGE = join(import.meta.dirname, '..', 'docs', 'metrics.md')
const BEGIN = '<!-- table: npm run gen -->'
const END = '<!-- end of table -->'

const PARTS: readonly (readonly [string, Readonly<Record<string, MetricDeclaration>>])[] = [
  ['Gateway', GATEWAY_METRICS],
  ['WebSockets and streams', REALTIME_METRICS],
  ['Pool and nodes', POOL_METRICS],
  ['Database, Redis and backups', STORAGE_METRICS],
  ['Every process', PROCESS_METRICS],
  ['Monitor', MONITOR_METRICS],
]

/** The page with its table as the declarations have it now. */
export function metricsPage(page: string): string {
  const before = page.slice(0, page.indexOf(BEGIN) + BEGIN.length)
  const after = page.slice(page.indexOf(END))
  return `${before}\n${PARTS.map(([title, part]) => tableOf(title, part)).join('\n')}\n${after}`
}

/** Those that the table has no part for. */
export function unlisted(): string[] {
  const listed = new Set(PARTS.flatMap(([, part]) => Object.keys(part)))
  return Object.keys(METRICS).filter((name) => !listed.has(name))
}

function tableOf(title: string, part: Readonly<Record<string, MetricDeclaration>>): string {
  const rows = Object.entries(part).map(
    ([name, { type, labels, help }]) =>
      `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help.replaceAll('|', '\\|')} |`,
  )
  return `\n### ${title}\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n${rows.join('\n')}\n`
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(METRICS_PAGE, metricsPage(readFileSync(METRICS_PAGE, 'utf8')))

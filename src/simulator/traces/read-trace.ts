import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { HelixError } from '../../core/errors.ts'
import { seededRandom } from '../../core/random.ts'
import { AZURE_HEADER, azureReader } from './azure.ts'
import { badLine, linesOf } from './lines.ts'
import { jsonOf, mooncakeReader } from './mooncake.ts'
import { PLAIN_HEADER, plainReader } from './plain.ts'
import { drawArrivals, expectedRequests, type RateWindow, readRateWindow, SERVEGEN_ROW } from './servegen.ts'
import { SYNTHETIC_PREFIX, syntheticTrace } from './synthetic.ts'
import type { Trace, TraceExtent, TraceFormat, TraceRequest } from './trace.ts'

/** About so many requests are drawn from rates when nobody says how many. */
const DRAWN_REQUESTS = 20_000

/**
 * A trace by its path, in whatever form it is: what the file holds says which. A folder holds rate windows of ServeGen,
 * a file for each client. `synthetic:...` is made up on the spot.
 * @throws HelixError `not_found`; `invalid_value` with the number of the line; `invalid_arguments`
 */
export async function readTrace(path: string, extent: TraceExtent): Promise<Trace> {
  if (path.startsWith(SYNTHETIC_PREFIX)) return syntheticTrace(path, extent)
  if (!existsSync(path)) throw new HelixError('not_found', `There is no trace ${path}.`)
  if (statSync(path).isDirectory()) return drawnTrace(filesOf(path), extent)
  const format = await formatOf(path)
  return format === 'servegen' ? drawnTrace([path], extent) : recordedTrace(path, format, extent)
}

type RecordedFormat = Exclude<TraceFormat, 'servegen' | 'synthetic'>

async function formatOf(path: string): Promise<RecordedFormat | 'servegen'> {
  for await (const line of linesOf(path)) {
    const text = line.text.trim()
    if (text === AZURE_HEADER) return 'azure'
    if (PLAIN_HEADER.test(text)) return 'plain'
    if (SERVEGEN_ROW.test(text)) return 'servegen'
    const row = jsonOf(text)
    if (typeof row === 'object' && row !== null) return 'hash_ids' in row ? 'mooncake' : 'plain'
    throw badLine(path, line, 'the first line is of no trace that is known here (docs/simulator.md)')
  }
  throw new HelixError('invalid_value', `${path} is empty.`)
}

const READERS = {
  azure: azureReader,
  mooncake: mooncakeReader,
  plain: plainReader,
} as const satisfies Record<RecordedFormat, unknown>

async function recordedTrace(path: string, format: RecordedFormat, extent: TraceExtent): Promise<Trace> {
  const reader = READERS[format](path)
  const requests: TraceRequest[] = []
  for await (const line of linesOf(path)) {
    const request = reader.read(line)
    if (!request) continue
    const earlier = requests.at(-1)?.arrivalMs ?? 0
    if (request.arrivalMs < earlier) throw badLine(path, line, 'earlier than the line before')
    requests.push(request)
    if (requests.length === extent.requests) break
  }
  return { format, requests, startedMs: reader.startedMs(), synthetic: [] }
}

function filesOf(folder: string): string[] {
  const files = readdirSync(folder).filter((name) => name.endsWith('.csv'))
  if (files.length === 0) throw new HelixError('not_found', `There is no trace in ${folder}.`)
  // By their numbers, so that a client has the same place everywhere.
  return files.sort(new Intl.Collator('en', { numeric: true }).compare).map((name) => join(folder, name))
}

async function drawnTrace(paths: readonly string[], { requests: wanted, seed }: TraceExtent): Promise<Trace> {
  const clients: { readonly name: string; readonly windows: readonly RateWindow[] }[] = []
  for (const path of paths) {
    const windows: RateWindow[] = []
    for await (const line of linesOf(path)) windows.push(readRateWindow(path, line))
    clients.push({ name: basename(path, '.csv').replace(/-trace$/, ''), windows })
  }
  const expected = clients.reduce((sum, { windows }) => sum + expectedRequests(windows), 0)
  const scale = (wanted ?? DRAWN_REQUESTS) / Math.max(1e-9, expected)
  const requests = clients
    .flatMap(({ name, windows }, place) => {
      const random = seededRandom(seed * 1_000 + place)
      return [...drawArrivals(name, windows, { scale, random })]
    })
    .sort((a, b) => a.arrivalMs - b.arrivalMs)
  const synthetic = [
    `arrivals, drawn from recorded rates at ${scale.toPrecision(3)} of their height`,
    'lengths, lognormal with the means of the Azure conversation trace',
    'models, one for each recorded client',
  ]
  return { format: 'servegen', requests, startedMs: undefined, synthetic }
}

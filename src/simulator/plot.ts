import type { Job } from './job.ts'
import type { Outcome } from './replay.ts'
import type { LoadRecord } from './replayed-pool.ts'
import { quantilesOf } from './report.ts'
import { milliseconds } from './report-text.ts'
import type { Scenario } from './scenario.ts'

const WIDTH = 1_200
const LEFT = 120
const RIGHT = 20
const TOP = 56
const LANE = 84
const GAP = 14
const CURVE = 200
const BUCKETS = 160
/** Legible on white and on black alike; the background is left to whoever shows it. */
const INK = '#7a828e'
const FAINT = '#7a828e33'
const [FAST, SLOW, COLD] = ['#2f9e7e', '#d9822b', '#d64550'] as const

/**
 * A replay as a picture (SVG): for each device what lay in its memory over time, as high as its share of it, pale while
 * it loaded; below, time to the first token with a mark for every request that waited for a load.
 */
export function plotOf(outcome: Outcome, { devices, models }: Scenario, title: string): string {
  const colours = new Map(models.map(({ spec }, place) => [spec.name, colourOf(place)]))
  const scaleX = (ms: number) => LEFT + (ms / Math.max(1, outcome.durationMs)) * (WIDTH - LEFT - RIGHT)
  const curveTop = TOP + devices.length * (LANE + GAP) + 26
  const legendTop = curveTop + CURVE + 48
  const legend = legendOf([...colours], legendTop)
  const lanes = devices.map(({ id, totalBytes }, place) => {
    const top = TOP + place * (LANE + GAP)
    const loads = outcome.loads.filter(({ deviceIds }) => deviceIds.includes(id))
    const busy = (100 * (outcome.busyMs.get(id) ?? 0)) / Math.max(1, outcome.durationMs)
    return [
      rectangle({ x: LEFT, y: top, width: WIDTH - LEFT - RIGHT, height: LANE }, `fill="${FAINT}"`),
      label(LEFT - 8, top + LANE / 2 - 2, id, 'end'),
      label(LEFT - 8, top + LANE / 2 + 13, `${busy.toFixed(1)} % busy`, 'end', 10),
      barsOf(loads, { top, totalBytes, scaleX, colours, endMs: outcome.durationMs }),
    ].join('')
  })
  const height = legend.bottom + 16
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" role="img">`,
    `<title>${escaped(title)}</title>`,
    label(LEFT, 24, title, 'start', 15),
    label(LEFT, 42, 'What lies in the memory of each device; pale while it loads.', 'start', 11),
    ...lanes,
    curvesOf(outcome.jobs, { top: curveTop, scaleX, endMs: outcome.durationMs }),
    timeAxis(curveTop + CURVE, outcome.durationMs, scaleX),
    legend.text,
    '</svg>\n',
  ].join('\n')
}

interface BarPlace {
  readonly top: number
  readonly totalBytes: number
  readonly scaleX: (ms: number) => number
  readonly colours: ReadonlyMap<string, string>
  readonly endMs: number
}

/** What lay there at each time, stacked in the order it came; it sinks when something below it goes. */
function barsOf(loads: readonly LoadRecord[], { top, totalBytes, scaleX, colours, endMs }: BarPlace): string {
  const bars: string[] = []
  const draw = ({ load, lowBytes, fromMs }: Layer, untilMs: number) => {
    const height = (layerBytes(load) / totalBytes) * LANE
    const y = top + LANE - (lowBytes / totalBytes) * LANE - height
    const readyMs = Math.min(untilMs, Math.max(fromMs, load.readyMs ?? untilMs))
    const colour = `fill="${colours.get(load.model) ?? INK}"`
    const bar = (from: number, to: number, attributes: string) => {
      const name = `<title>${escaped(`${load.instanceId}, ${load.purpose}`)}</title>`
      const box = { x: scaleX(from), y, width: scaleX(to) - scaleX(from), height }
      if (to > from) bars.push(rectangle(box, attributes, name))
    }
    bar(fromMs, readyMs, `${colour} opacity="0.35"`)
    bar(readyMs, untilMs, colour)
  }
  let layers: readonly Layer[] = []
  const goneMs = (load: LoadRecord) => load.goneMs ?? endMs
  for (const atMs of [...new Set(loads.flatMap((load) => [load.startedMs, goneMs(load)]))].sort(
    (a, b) => a - b,
  )) {
    let lowBytes = 0
    const next = loads
      .filter((load) => load.startedMs <= atMs && atMs < goneMs(load))
      .map((load) => {
        const same = layers.find((layer) => layer.load === load && layer.lowBytes === lowBytes)
        const layer = same ?? { load, lowBytes, fromMs: atMs }
        lowBytes += layerBytes(load)
        return layer
      })
    for (const layer of layers) if (!next.includes(layer)) draw(layer, atMs)
    layers = next
  }
  return bars.join('')
}

interface Layer {
  readonly load: LoadRecord
  readonly lowBytes: number
  readonly fromMs: number
}

function layerBytes({ bytes, deviceIds }: LoadRecord): number {
  return bytes / deviceIds.length
}

interface CurvePlace {
  readonly top: number
  readonly scaleX: (ms: number) => number
  readonly endMs: number
}

function curvesOf(jobs: readonly Job[], { top, scaleX, endMs }: CurvePlace): string {
  const buckets = Array.from({ length: BUCKETS }, (): number[] => [])
  const waits: { readonly atMs: number; readonly ms: number }[] = []
  for (const { request, firstTokenMs, cold } of jobs) {
    if (firstTokenMs === undefined) continue
    const ms = Math.max(1, firstTokenMs - request.arrivalMs)
    buckets[Math.min(BUCKETS - 1, Math.floor((request.arrivalMs / Math.max(1, endMs)) * BUCKETS))]?.push(ms)
    if (cold) waits.push({ atMs: request.arrivalMs, ms })
  }
  const highest =
    10 ** Math.ceil(Math.log10(Math.max(10, ...buckets.flatMap((bucket) => quantilesOf(bucket).p99))))
  const scaleY = (ms: number) => top + CURVE * (1 - Math.log10(Math.min(highest, ms)) / Math.log10(highest))
  const line = (pick: 'p50' | 'p99', colour: string) => {
    const points = buckets.flatMap((bucket, place) => {
      if (bucket.length === 0) return []
      return [
        `${scaleX(((place + 0.5) / BUCKETS) * endMs).toFixed(1)},${scaleY(quantilesOf(bucket)[pick]).toFixed(1)}`,
      ]
    })
    return `<polyline points="${points.join(' ')}" fill="none" stroke="${colour}" stroke-width="1.6" stroke-linejoin="round"/>`
  }
  const grid = Array.from({ length: Math.round(Math.log10(highest)) + 1 }, (_, power) => {
    const y = scaleY(10 ** power)
    return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}" stroke="${FAINT}"/>${label(LEFT - 8, y + 4, milliseconds(10 ** power), 'end', 10)}`
  })
  const marks = waits.map(
    ({ atMs, ms }) =>
      `<circle cx="${scaleX(atMs).toFixed(1)}" cy="${scaleY(ms).toFixed(1)}" r="2.2" fill="${COLD}" opacity="0.7"/>`,
  )
  return [
    ...grid,
    line('p50', FAST),
    line('p99', SLOW),
    ...marks,
    label(LEFT, top - 8, 'Time to the first token:', 'start', 11),
    label(LEFT + 134, top - 8, 'median', 'start', 11, FAST),
    label(LEFT + 182, top - 8, 'p99', 'start', 11, SLOW),
    label(LEFT + 212, top - 8, 'waited for a load', 'start', 11, COLD),
  ].join('')
}

function timeAxis(y: number, endMs: number, scaleX: (ms: number) => number): string {
  const steps = [1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400, 604_800].map((seconds) => seconds * 1_000)
  const stepMs = steps.find((step) => endMs / step <= 14) ?? 604_800_000
  const ticks: string[] = []
  for (let ms = 0; ms <= endMs; ms += stepMs)
    ticks.push(label(scaleX(ms), y + 16, timeText(ms), 'middle', 10))
  return ticks.join('')
}

function timeText(ms: number): string {
  if (ms >= 86_400_000) return `${(ms / 86_400_000).toFixed(1)} d`
  if (ms >= 7_200_000) return `${Math.round(ms / 3_600_000)} h`
  return ms >= 60_000 ? `${Math.round(ms / 60_000)} min` : `${ms / 1_000} s`
}

function legendOf(colours: readonly (readonly [string, string])[], top: number) {
  const perRow = 8
  const entries = colours.map(([name, colour], place) => {
    const x = LEFT + (place % perRow) * ((WIDTH - LEFT - RIGHT) / perRow)
    const y = top + Math.floor(place / perRow) * 18
    return `${rectangle({ x, y: y - 9, width: 10, height: 10 }, `fill="${colour}" rx="2"`)}${label(x + 15, y, name, 'start', 11)}`
  })
  return { text: entries.join(''), bottom: top + Math.ceil(colours.length / perRow) * 18 }
}

/** Neighbours in the list get hues far apart. */
function colourOf(place: number): string {
  return `hsl(${Math.round((place * 137.508 + 200) % 360)} ${place % 2 === 0 ? 58 : 42}% ${place % 3 === 0 ? 48 : 60}%)`
}

interface Box {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

function rectangle({ x, y, width, height }: Box, attributes: string, inside = ''): string {
  const [left, top, wide, high] = [x, y, Math.max(0.5, width), height].map((value) => value.toFixed(1))
  return `<rect x="${left}" y="${top}" width="${wide}" height="${high}" ${attributes}>${inside}</rect>`
}

function label(
  x: number,
  y: number,
  text: string,
  anchor: string,
  ...[size = 12, colour = INK]: [number?, string?]
) {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" font-size="${size}" fill="${colour}">${escaped(text)}</text>`
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

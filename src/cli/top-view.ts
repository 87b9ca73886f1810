import type { ModelView } from '../contracts/pool.ts'
import { durationText, sizeText, table } from './output.ts'

/** What a server does at one moment, as far as it says. */
export interface Snapshot {
  readonly atMs: number
  readonly server: { readonly url: string; readonly version: string; readonly startedAtMs: number }
  readonly requestsInFlight: number
  /** Of sockets; undefined where the server does not say. */
  readonly realtime: RealtimeCounts | undefined
  readonly models: readonly ModelView[]
}

export interface RealtimeCounts {
  readonly connections?: number
  /** Generations whose answers are kept as streams, and that have not ended. */
  readonly streams?: number
  /** Who follows what. */
  readonly topics?: Readonly<Record<string, number>>
}

const TOPICS_SHOWN = 6
const LOADED = new Set(['loading', 'ready', 'unloading'])

/** The snapshot as lines of text; what is loaded first. */
export function topText({ atMs, server, requestsInFlight, realtime, models }: Snapshot): string {
  const loaded = models.filter(({ state }) => LOADED.has(state))
  const memoryBytes = loaded.reduce((sum, { memoryBytes: bytes = 0 }) => sum + bytes, 0)
  const rows = [...loaded, ...models.filter(({ state }) => !LOADED.has(state))].map((model) =>
    row(model, atMs),
  )
  return [
    `helixflow ${server.version}  ${server.url}  up ${durationText(atMs - server.startedAtMs)}`,
    `requests ${requestsInFlight}  connections ${count(realtime?.connections)}  streams ${count(realtime?.streams)}`,
    `topics ${topicsText(realtime?.topics)}`,
    `models ${loaded.length} of ${models.length} loaded, ${sizeText(memoryBytes)}`,
    '',
    table(['MODEL', 'STATE', 'REQUESTS', 'MEMORY', 'CONTEXT', 'UNLOADS IN'], rows),
  ].join('\n')
}

function row(model: ModelView, atMs: number): string[] {
  const { name, state, reason, inFlight, memoryBytes, contextLength, unloadsAtMs } = model
  return [
    name,
    reason === undefined ? state : `${state}: ${reason}`,
    String(inFlight),
    LOADED.has(state) ? sizeText(memoryBytes) : '-',
    contextLength === undefined ? '-' : String(contextLength),
    unloadsAtMs === undefined ? '-' : durationText(Math.max(0, unloadsAtMs - atMs)),
  ]
}

function topicsText(topics: RealtimeCounts['topics']): string {
  if (topics === undefined) return count(undefined)
  const busiest = Object.entries(topics).sort(([, one], [, other]) => other - one)
  if (busiest.length === 0) return 'none followed'
  const shown = busiest.slice(0, TOPICS_SHOWN).map(([topic, followers]) => `${topic} ${followers}`)
  const more = busiest.length - shown.length
  return shown.join(', ') + (more > 0 ? ` and ${more} more` : '')
}

function count(value: number | undefined): string {
  return value === undefined ? 'unknown' : String(value)
}

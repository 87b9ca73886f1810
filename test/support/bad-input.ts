import { Agent } from 'node:http'
import { expect } from 'vitest'
import { ERROR_CODES } from '../../src/core/errors.ts'
import { engineProcess, exists } from './engine-process.ts'
import type { Inspector } from './inspector.ts'
import { residentBytes } from './memory.ts'
import { type MutatedRequest, mutatedRequest, ROUTES } from './mutated-requests.ts'
import { eventsOf, post, type RawAnswer } from './raw-client.ts'
import type { Server } from './server.ts'

export interface BadInputRun {
  readonly seed: number
  readonly perRoute: number
}

export interface BadInputReport {
  /** Answers by status. */
  readonly statuses: Readonly<Record<string, number>>
  /** Requests whose answer broke a promise, with all that is needed to send them again. */
  readonly problems: readonly string[]
  /** How long /livez took to answer meanwhile, shortest first. */
  readonly livezMs: readonly number[]
  /** How long the slowest answer took, and which it was. */
  readonly slowest: string
}

const IN_FLIGHT = 8
const ANSWER_MAX_MS = 15_000

/** Sends so many mutated requests to each route, and looks at every answer. */
export async function sendBadInput(server: Server, run: BadInputRun): Promise<BadInputReport> {
  const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT })
  const statuses: Record<string, number> = {}
  const problems: string[] = []
  const requests = allRequests(run)
  let slowest = { ms: 0, text: '' }
  const work = async () => {
    for (const request of requests) {
      const startedMs = performance.now()
      const answer = await send(server, request, agent).catch((cause: Error) => cause)
      const ms = performance.now() - startedMs
      if (ms > slowest.ms) slowest = { ms, text: `${Math.round(ms)} ms: ${describe(request)}` }
      if (!(answer instanceof Error)) statuses[answer.status] = (statuses[answer.status] ?? 0) + 1
      const problem = answer instanceof Error ? problemOfNone(answer, request) : problemOf(answer, request)
      if (problem) problems.push(`${problem}\n  ${describe(request)}`)
    }
  }
  const prober = probeLiveness(server)
  let livezMs: readonly number[] = []
  try {
    await Promise.all(Array.from({ length: IN_FLIGHT }, work))
  } finally {
    livezMs = await prober.stop()
    agent.destroy()
  }
  return { statuses, problems, livezMs, slowest: slowest.text }
}

/** One iterator for all workers: each takes the next one. */
function* allRequests({ seed, perRoute }: BadInputRun): Generator<MutatedRequest, void> {
  for (let number = 0; number < perRoute; number++) {
    for (const route of ROUTES) yield mutatedRequest(route, seed, number)
  }
}

function send(server: Server, request: MutatedRequest, agent: Agent): Promise<RawAnswer> {
  const contentType = request.contentType as string | undefined
  return post(`${server.origin}${request.route}`, {
    headers: { authorization: `Bearer ${server.apiKey}`, 'content-type': contentType },
    body: request.body,
    timeoutMs: ANSWER_MAX_MS,
    agent,
  })
}

const BODY_LIMIT_BYTES = 8 * 2 ** 20

/** A body that is too large may be cut off while it is still being sent. */
function problemOfNone(cause: Error, { body }: MutatedRequest): string | undefined {
  return body.length > BODY_LIMIT_BYTES ? undefined : `no answer: ${cause.message}`
}

/** What is wrong with an answer; undefined when nothing is. */
export function problemOf(answer: RawAnswer, request: Pick<MutatedRequest, 'body'>): string | undefined {
  const { status, headers, text, ended } = answer
  const shown = `${status} ${text.slice(0, 300)}`
  if (ended === 'cut') return `cut off: ${shown}`
  if (status >= 500) return `blames the server: ${shown}`
  if (!/^req_[0-9a-f]{24}$/.test(String(headers['x-request-id']))) return `no request id: ${shown}`
  if (status === 200) return problemOfSuccess(answer)
  return problemOfRefusal(answer) ?? leakIn(text, request.body)
}

function problemOfSuccess({ headers, text }: RawAnswer): string | undefined {
  if (headers['content-type']?.startsWith('text/event-stream')) {
    const events = eventsOf(text)
    if (isEndOfResponse(events.at(-1))) return undefined
    return events.at(-1) === '[DONE]' ? undefined : `a stream without its end: ${text.slice(-300)}`
  }
  try {
    JSON.parse(text)
    return undefined
  } catch {
    return `no JSON: ${text.slice(0, 300)}`
  }
}

/** Also a response that fails ends with an event that says so. */
function isEndOfResponse(event: unknown): boolean {
  const type = (event as { type?: unknown } | undefined)?.type
  return type === 'response.completed' || type === 'response.incomplete' || type === 'response.failed'
}

function problemOfRefusal({ status, headers, text }: RawAnswer): string | undefined {
  const shown = `${status} ${text.slice(0, 300)}`
  if (!headers['content-type']?.startsWith('application/json')) return `no JSON: ${shown}`
  const body = JSON.parse(text) as { error?: Record<string, unknown> }
  const { error } = body
  const keys = Object.keys(error ?? {}).join()
  if (Object.keys(body).join() !== 'error' || keys !== 'message,type,param,code')
    return `not the error contract: ${shown}`
  const code = ERROR_CODES.find((one) => one === error?.['code'])
  if (!code) return `no such code: ${shown}`
  return undefined
}

/** Paths, stacks, files and addresses of this machine. */
const LEAKS = [
  /(?<![\w.:/#])\/(?!v1\/|\/)[\w.-]+\/[\w./-]+/,
  /\bat (?:Object|async|new|file:|node:)/,
  /\bnode_modules\b/,
  /\.sock\b/,
  /\.(?:[cm]?[jt]s|cpp|h):\d+/,
  /\b(?:127\.0\.0\.1|localhost)\b/,
  /\bgguf\b/i,
]

function leakIn(text: string, body: Buffer): string | undefined {
  for (const pattern of LEAKS) {
    const [found] = pattern.exec(text) ?? []
    // What the caller wrote may come back to the caller.
    if (found !== undefined && !body.includes(found)) return `tells '${found}': ${text.slice(0, 300)}`
  }
  return undefined
}

function describe({ route, seed, number, mutations, body, contentType }: MutatedRequest): string {
  const shown = body.length > 400 ? `${body.toString('utf8', 0, 400)}... (${body.length} bytes)` : body
  const again = `mutatedRequest('${route}', ${seed}, ${number})`
  return `${again}: ${mutations.join('; ')}; content-type ${contentType}\n  ${shown}`
}

const PROBE_EVERY_MS = 50

/** Asks /livez again and again, each time on the same connection, until told to stop. */
function probeLiveness(server: Server): { stop(): Promise<readonly number[]> } {
  const times: number[] = []
  let stopped = false
  const probing = (async () => {
    while (!stopped) {
      const startedMs = performance.now()
      const { status } = await fetch(`${server.origin}/livez`)
      times.push(status === 200 ? performance.now() - startedMs : Number.POSITIVE_INFINITY)
      await new Promise((resolve) => setTimeout(resolve, PROBE_EVERY_MS))
    }
  })()
  return {
    stop: async () => {
      stopped = true
      await probing
      return times.sort((a, b) => a - b)
    },
  }
}

const GROWTH_SHARE_MAX = 0.05
const MIB = 2 ** 20

/**
 * Runs the load and checks all that it promises: every answer in order, the same engine process, memory back to where
 * it was, no prototype changed, and a server that answered others all the time.
 */
export async function expectUnharmed(
  server: Server,
  inspector: Inspector,
  load: () => Promise<BadInputReport>,
): Promise<void> {
  const engine = await engineProcess(server, 'tiny')
  const engineBytes = residentBytes(engine)
  const bytes = await inspector.bytesInUse()
  const report = await load()
  expect.soft(report.problems.join('\n\n')).toBe('')
  expect(exists(engine), 'the engine is still the same').toBe(true)
  expect
    .soft(await inspector.bytesInUse(), 'bytes of the server')
    .toBeLessThan(bytes * (1 + GROWTH_SHARE_MAX))
  expect.soft(residentBytes(engine), 'bytes of the engine').toBeLessThan(engineBytes + 256 * MIB)
  expect.soft(await inspector.evaluate(NAMES_ON_PROTOTYPES)).toEqual(NOTHING_ADDED)
  const { livezMs } = report
  expect.soft(livezMs.length).toBeGreaterThan(10)
  expect.soft(livezMs[Math.floor(livezMs.length * 0.95)], '95 % of the answers of /livez').toBeLessThan(250)
  expect.soft(livezMs.at(-1), 'the slowest answer of /livez').toBeLessThan(2_000)
}

/** What a polluted prototype would show: a field that every object suddenly has. */
const NAMES_ON_PROTOTYPES = `({
  object: Object.keys(Object.prototype), array: Object.keys(Array.prototype),
  inherited: (() => { const names = []; for (const name in {}) names.push(name); return names })(),
  polluted: typeof ({}).polluted,
})`
const NOTHING_ADDED = { object: [], array: [], inherited: [], polluted: 'undefined' }

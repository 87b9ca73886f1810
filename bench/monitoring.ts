import { join } from 'node:path'
import { MetricRegistry } from '../src/metrics/registry.ts'
import { type HelixFlow, startHelixFlow } from './helixflow.ts'
import { load, postRequest } from './load.ts'
import { pinTo } from './pin.ts'
import { startProcess } from './process.ts'
import {
  type Benchmark,
  type BenchOptions,
  type BenchResult,
  type Goal,
  goal,
  median,
  rounded,
  table,
  versionsOf,
} from './report.ts'

const GATEWAY_CORE = 0
const LOAD_CORE = 1
const CONNECTIONS = 16
const SLICE_MS = 300

/** What is on in a slice. */
const STATES = {
  both: { metrics: 1, log: 1 },
  withoutMetrics: { metrics: 0, log: 1 },
  withoutLog: { metrics: 1, log: 0 },
} as const
type State = keyof typeof STATES
const NAMES = Object.keys(STATES) as State[]

/** What it costs to be watched. */
export const monitoring: Benchmark = {
  summary: 'CPU of metrics and access log per request, and how long a scrape holds the loop',
  run: async (options) => {
    pinTo(LOAD_CORE)
    const scrapes = [2_000, 10_000].map((series) => scrape(series))
    const mock = await startProcess<{ port: number }>({
      ...{ command: process.execPath, args: [join(import.meta.dirname, 'mock-openai.mjs')], core: LOAD_CORE },
    })
    options.say('starting the gateway')
    const gateway = await startGateway(`http://127.0.0.1:${mock.ready.port}`)
    const rounds = await measure(gateway, options)
    const calls = await recordedCalls(gateway)
    for (const one of [gateway, mock]) await one.stop()
    return result({ rounds, calls, scrapes }, options)
  },
}

interface Round {
  readonly round: number
  readonly state: State
  readonly requests: number
  /** Of the gateway's own process, without its database. */
  readonly cpuMicroseconds: number
}

interface Scrape {
  readonly series: number
  readonly bytes: number
  readonly milliseconds: number
  readonly longestMs: number
}

interface Calls {
  readonly calls: readonly { readonly method: string; readonly name: string }[]
  readonly nanoseconds: number
}

function startGateway(upstream: string): Promise<HelixFlow> {
  const config = {
    gateway: { port: 0 },
    models: { default: null },
    // No model runs here: no engine is looked for or built.
    engines: { llamaServer: '/bin/false' },
    upstreams: [{ name: 'mock', url: upstream, models: ['mock'], slots: 64 }],
    prices: { mock: { input: 1, output: 2 } },
  }
  const launcher = join(import.meta.dirname, 'switched-gateway.mjs')
  return startHelixFlow({ config, core: GATEWAY_CORE, launcher })
}

/** All states in each round, in another order each time. */
async function measure(gateway: HelixFlow, { quick, say }: BenchOptions): Promise<Round[]> {
  const count = quick ? 20 : 500
  const found: Round[] = []
  for (let round = -5; round < count; round++) {
    if (round % 20 === 0) say(`round ${round} of ${count}`)
    for (let at = 0; at < NAMES.length; at++) {
      const state = NAMES[(at + round + 5) % NAMES.length] ?? 'both'
      const one = await slice(gateway, state)
      // The first are to warm up.
      if (round >= 0) found.push({ round, state, ...one })
    }
  }
  return found
}

async function slice(gateway: HelixFlow, state: State): Promise<Pick<Round, 'requests' | 'cpuMicroseconds'>> {
  const { metrics, log } = STATES[state]
  const before = await ask<Cpu>(gateway, `/switch?metrics=${metrics}&log=${log}`)
  const { requests } = await load({
    ...loadOf(gateway),
    connections: CONNECTIONS,
    stopAfter: { ms: SLICE_MS },
  })
  const after = await ask<Cpu>(gateway, '/cpu')
  return { requests, cpuMicroseconds: (after.cpuMicroseconds - before.cpuMicroseconds) / requests }
}

interface Cpu {
  readonly cpuMicroseconds: number
}

function loadOf({ port, apiKey }: HelixFlow) {
  const body = { model: 'mock', messages: [{ role: 'user', content: 'How far is it?' }], max_tokens: 64 }
  return {
    to: { host: '127.0.0.1', port },
    requests: [postRequest('/v1/chat/completions', { authorization: `Bearer ${apiKey}` }, body)],
    check: ({ status }: { readonly status: number }) => {
      if (status !== 200) throw new Error(`answer ${status}`)
    },
  }
}

/** Those of one request, and how long all of them take together. */
async function recordedCalls(gateway: HelixFlow): Promise<Calls> {
  await ask(gateway, '/switch?metrics=1&log=1')
  await load({ ...loadOf(gateway), connections: 1, stopAfter: { requests: 1 } })
  await ask(gateway, '/record')
  await load({ ...loadOf(gateway), connections: 1, stopAfter: { requests: 1 } })
  // Its line is written when its connection is done with it.
  await new Promise((resolve) => setTimeout(resolve, 50))
  return ask<Calls>(gateway, '/recorded')
}

async function ask<Answer>({ controlPort }: HelixFlow, path: string): Promise<Answer> {
  return (await (await fetch(`http://127.0.0.1:${controlPort}${path}`)).json()) as Answer
}

/** The text of so many series, piece by piece as the listener takes it. */
function scrape(series: number): Scrape {
  const registry = new MetricRegistry()
  // 47 for each model, of which a registry takes no more than it has room for.
  for (let at = 0; at < series / 47; at++) {
    const labels = { model: `model-${at}` }
    registry.observe('helixflow_request_duration_seconds', labels, at)
    registry.observe('helixflow_time_to_first_token_seconds', labels, at)
    registry.observe('helixflow_time_per_output_token_seconds', labels, at)
  }
  const rounds = Array.from({ length: 20 }, () => {
    let bytes = 0
    let longestMs = 0
    const startMs = performance.now()
    let sinceMs = startMs
    for (const piece of registry.text('openmetrics')) {
      bytes += Buffer.from(piece).length
      longestMs = Math.max(longestMs, performance.now() - sinceMs)
      sinceMs = performance.now()
    }
    return { bytes, longestMs, milliseconds: performance.now() - startMs }
  })
  return {
    series: [...registry.samples()].length,
    bytes: rounds[0]?.bytes ?? 0,
    milliseconds: median(rounds.map(({ milliseconds }) => milliseconds)),
    // The quietest round: in any other, something else took the processor meanwhile.
    longestMs: Math.min(...rounds.map(({ longestMs }) => longestMs)),
  }
}

function result(
  found: { readonly rounds: readonly Round[]; readonly calls: Calls; readonly scrapes: readonly Scrape[] },
  { quick }: BenchOptions,
): BenchResult {
  const { rounds, calls, scrapes } = found
  const ofMetrics = overhead(rounds, 'withoutMetrics')
  const ofLog = overhead(rounds, 'withoutLog')
  const requestMicroseconds = median(costsOf(rounds, 'both'))
  const direct = calls.nanoseconds / 1_000 / requestMicroseconds
  const percent = (share: number) => `${rounded(100 * share)} %`
  const row = (name: string, { share, low, high }: Interval) => [
    ...[name, percent(share), `${percent(low)} to ${percent(high)}`],
  ]
  return {
    settings: {
      quick,
      connections: CONNECTIONS,
      sliceMs: SLICE_MS,
      gatewayCore: GATEWAY_CORE,
      loadCore: LOAD_CORE,
    },
    versions: versionsOf('fastify', 'undici', 'pino'),
    notes: [
      'One gateway switches metrics and access log off and on while it runs; CPU is that of its own process.',
      'The interval holds the median of the ratios with 95 %, by their order alone: no distribution is assumed.',
      'Off, the calls are still made, with their labels, and do nothing.',
      'The direct measure is the least time of 50 batches of 20,000 requests; it sees no effect on caches.',
    ],
    goals: [
      goal('metrics, directly: share of a request', { atMost: 0.01 }, [direct]),
      intervalGoal('metrics, by slices: share of a request', ofMetrics),
      goal('a full registry: longest piece of reading it, ms', { atMost: 10 }, [
        scrapes.at(-1)?.longestMs ?? Number.NaN,
      ]),
    ],
    summary: {
      requestMicroseconds,
      callsOfOneRequest: calls.calls.length,
      nanosecondsOfAllCalls: calls.nanoseconds,
      direct,
      ofMetrics,
      ofLog,
      scrapes,
    },
    rounds: [...rounds, ...calls.calls],
    table: [
      ...table(
        ['what', 'share of CPU', '95 %'],
        [row('metrics, by slices', ofMetrics), row('access log, by slices', ofLog)],
      ),
      `a request takes ${rounded(requestMicroseconds)} us of CPU; its ${calls.calls.length} calls of metrics take ${rounded(calls.nanoseconds)} ns: ${percent(direct)}`,
      ...table(
        ['series', 'KiB', 'ms in all', 'longest piece ms'],
        scrapes.map((one) => [one.series, one.bytes / 1_024, one.milliseconds, one.longestMs]),
      ),
    ],
  }
}

interface Interval {
  readonly share: number
  readonly low: number
  readonly high: number
}

function costsOf(rounds: readonly Round[], state: State): number[] {
  return rounds.filter((one) => one.state === state).map(({ cpuMicroseconds }) => cpuMicroseconds)
}

/** By how much more a request costs with both than without one: the median over the rounds, and where it surely lies. */
function overhead(rounds: readonly Round[], without: State): Interval {
  const bare = costsOf(rounds, without)
  const shares = costsOf(rounds, 'both')
    .map((cost, at) => cost / (bare[at] ?? Number.NaN) - 1)
    .sort((a, b) => a - b)
  // The sign test's interval of a median: how many of n values lie below it is binomial.
  const reach = 0.98 * Math.sqrt(shares.length)
  const at = (index: number) =>
    shares[Math.max(0, Math.min(shares.length - 1, Math.round(index)))] ?? Number.NaN
  const middle = shares.length / 2
  return { share: median(shares), low: at(middle - reach - 1), high: at(middle + reach) }
}

/** Only an interval that lies below the limit as a whole shows anything. */
function intervalGoal(name: string, { share, low, high }: Interval): Goal {
  return {
    ...{ name, atMost: 0.01, value: rounded(share), lowest: rounded(low), highest: rounded(high) },
    reached: high <= 0.01,
  }
}

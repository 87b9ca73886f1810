import { join } from 'node:path'
import type { Answer } from './answer-reader.ts'
import { type HelixFlow, startHelixFlow } from './helixflow.ts'
import { load, postRequest } from './load.ts'
import { pinTo } from './pin.ts'
import { startProcess } from './process.ts'
import { cpuSecondsOf, machineBusySeconds } from './process-cost.ts'
import {
  type Benchmark,
  type BenchOptions,
  type BenchResult,
  goal,
  median,
  table,
  versionsOf,
} from './report.ts'

const GATEWAY_CORE = 0
const LOAD_CORE = 1
const CONNECTIONS = 32
const LOADS = ['json', 'sse'] as const
const WAYS = ['relay', 'hit'] as const

type LoadName = (typeof LOADS)[number]
type Way = (typeof WAYS)[number]

interface Round {
  readonly round: number
  readonly load: LoadName
  readonly way: Way
  readonly requests: number
  readonly requestsPerSecond: number
  readonly cpuSecondsPer1000: number
  readonly otherCoresBusy: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** The cost of an answer that is kept, beside that of the same answer through the same gateway. */
export const hits: Benchmark = {
  summary: 'CPU per kept answer, against the same gateway asking the upstream',
  run: async (options) => {
    pinTo(LOAD_CORE)
    const mock = await startProcess<{ port: number }>({
      command: process.execPath,
      args: [join(import.meta.dirname, 'mock-openai.mjs')],
      core: LOAD_CORE,
    })
    const helixflow = await startHelixFlow({
      config: {
        gateway: { port: 0 },
        models: { default: null },
        engines: { llamaServer: '/bin/false' },
        upstreams: [
          { name: 'mock', url: `http://127.0.0.1:${mock.ready.port}`, models: ['mock'], slots: 64 },
        ],
      },
      core: GATEWAY_CORE,
    })
    const rounds = await measure(helixflow, mock.pid, options)
    await helixflow.stop()
    await mock.stop()
    return result(rounds, options)
  },
}

/** Both ways in turn, so that what disturbs one round disturbs both. */
async function measure(helixflow: HelixFlow, mockPid: number, options: BenchOptions): Promise<Round[]> {
  const count = options.quick ? 3 : 7
  const found: Round[] = []
  for (let round = 0; round <= count; round++) {
    options.say(round === 0 ? 'warming up' : `round ${round} of ${count}`)
    for (const name of LOADS) {
      for (let at = 0; at < WAYS.length; at++) {
        const way = WAYS[(at + round) % WAYS.length] ?? 'hit'
        const one = await measureOne(helixflow, mockPid, { name, way, ms: options.quick ? 1_000 : 3_000 })
        if (round > 0) found.push({ round, ...one })
      }
    }
  }
  return found
}

async function measureOne(
  { pid, port, apiKey }: HelixFlow,
  mockPid: number,
  { name, way, ms }: { readonly name: LoadName; readonly way: Way; readonly ms: number },
): Promise<Omit<Round, 'round'>> {
  const request = postRequest(
    '/v1/chat/completions',
    { authorization: `Bearer ${apiKey}` },
    bodyOf(name, way),
  )
  const before = costs(pid, mockPid)
  const { requests, elapsedMs, p50Ms, p99Ms } = await load({
    to: { host: '127.0.0.1', port },
    requests: [request],
    connections: CONNECTIONS,
    stopAfter: { ms },
    check: (answer) => check(answer, name),
  })
  const after = costs(pid, mockPid)
  const seconds = elapsedMs / 1_000
  const spent = after.gateway - before.gateway
  const known = spent + after.mock - before.mock + after.self - before.self
  return {
    load: name,
    way,
    requests,
    requestsPerSecond: requests / seconds,
    cpuSecondsPer1000: (1_000 * spent) / requests,
    otherCoresBusy: Math.max(0, after.machine - before.machine - known) / seconds,
    p50Ms,
    p99Ms,
  }
}

function costs(gatewayPid: number, mockPid: number) {
  const { user, system } = process.cpuUsage()
  return {
    gateway: cpuSecondsOf(gatewayPid),
    mock: cpuSecondsOf(mockPid),
    self: (user + system) / 1e6,
    machine: machineBusySeconds(),
  }
}

/** The request of the `gateway` benchmark; at temperature 0 it is kept, whole and as a stream by different seeds. */
function bodyOf(name: LoadName, way: Way): object {
  return {
    model: 'mock',
    messages: [
      {
        role: 'system',
        content: 'You are a helpful assistant. Answer in one sentence, and do not explain it.',
      },
      { role: 'user', content: 'How does somebody who has a long way to go get to the end of the road?' },
    ],
    temperature: way === 'hit' ? 0 : 0.7,
    max_tokens: 64,
    seed: name === 'sse' ? 1 : 2,
    ...(name === 'sse' ? { stream: true } : {}),
  }
}

const TEXT = ' one small step at a time leads far if nobody turns back before the end of the road'

function check({ status, body }: Answer, name: LoadName): void {
  const text = body.toString('utf8')
  const content =
    name === 'json' ? [text] : [...text.matchAll(/"content":"([^"]*)"/g)].map(([, word]) => word)
  const right = content.join('').includes(TEXT) && (name === 'json' || text.endsWith('data: [DONE]\n\n'))
  if (status !== 200 || !right) throw new Error(`wrong answer ${status}: ${text}`)
}

function result(rounds: readonly Round[], { quick }: BenchOptions): BenchResult {
  const of = (name: LoadName, way: Way) => rounds.filter((one) => one.load === name && one.way === way)
  const ratio = (name: LoadName) =>
    of(name, 'hit').map(
      (one, at) => one.cpuSecondsPer1000 / (of(name, 'relay')[at]?.cpuSecondsPer1000 ?? Number.NaN),
    )
  const summary = LOADS.flatMap((name) =>
    WAYS.map((way) => ({
      load: name,
      way,
      cpuSecondsPer1000: median(of(name, way).map((one) => one.cpuSecondsPer1000)),
      requestsPerSecond: median(of(name, way).map((one) => one.requestsPerSecond)),
      p50Ms: median(of(name, way).map((one) => one.p50Ms)),
      p99Ms: median(of(name, way).map((one) => one.p99Ms)),
    })),
  )
  return {
    settings: { quick, connections: CONNECTIONS, gatewayCore: GATEWAY_CORE, loadCore: LOAD_CORE },
    versions: versionsOf('fastify', 'undici', 'pino', 'zod'),
    notes: [
      'Both ways go through the same gateway: API key, schema, access log, record of usage.',
      'Temperature 0.7 is relayed to the upstream, temperature 0 is kept.',
    ],
    goals: LOADS.map((name) =>
      goal(
        `${name === 'json' ? 'JSON' : 'SSE'}: CPU of a hit, ratio to relaying`,
        { atMost: 0.5 },
        ratio(name),
      ),
    ),
    summary,
    rounds,
    table: table(
      ['load', 'way', 'CPU-s/1000', 'requests/s', 'p50 ms', 'p99 ms'],
      summary.map((one) => [
        one.load,
        one.way,
        one.cpuSecondsPer1000,
        one.requestsPerSecond,
        one.p50Ms,
        one.p99Ms,
      ]),
    ),
  }
}

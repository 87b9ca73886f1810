import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Answer } from './answer-reader.ts'
import { type HelixFlow, startHelixFlow } from './helixflow.ts'
import { type LoadResult, load, postRequest } from './load.ts'
import { pinTo } from './pin.ts'
import { portkeyVersion, startPortkey } from './portkey.ts'
import { type Started, startProcess } from './process.ts'
import { cpuSecondsOf, machineBusySeconds, memoryBelow, memoryOf } from './process-cost.ts'
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
const CHUNKS = 20
const PEERS = ['direct', 'relay', 'helixflow', 'portkey'] as const
const LOADS = ['json', 'sse'] as const

type PeerName = (typeof PEERS)[number]
type LoadName = (typeof LOADS)[number]

/** The cost of standing between a client and an OpenAI-compatible server. */
export const gateway: Benchmark = {
  summary: 'CPU per request and added latency, against a bare relay and @portkey-ai/gateway',
  run: async (options) => {
    pinTo(LOAD_CORE)
    const mock = await startScript('mock-openai.mjs', LOAD_CORE)
    const upstream = `http://127.0.0.1:${mock.ready.port}`
    options.say('starting the gateways')
    const relay = await startScript('bare-relay.mjs', GATEWAY_CORE, upstream)
    const portkey = await startPortkey(GATEWAY_CORE)
    const helixflow = await startGateway(upstream)
    const peers: readonly Peer[] = [
      { name: 'direct', pid: mock.pid, port: mock.ready.port, headers: {} },
      { name: 'relay', pid: relay.pid, port: relay.ready.port, headers: {} },
      { name: 'helixflow', ...helixflow, headers: { authorization: `Bearer ${helixflow.apiKey}` } },
      { name: 'portkey', ...portkey, headers: portkeyHeaders(upstream) },
    ]
    const idle = peers.map(({ name, pid }) => ({ name, idleMb: memoryOf(pid).nowMb }))
    const rounds = await measure(peers, mock.pid, options)
    const memory = peers.map(({ name, pid }, at) => ({ ...idle[at], name, peakMb: memoryOf(pid).peakMb }))
    const databaseMb = memoryBelow(helixflow.pid)
    await checkAccessLog(helixflow, rounds)
    for (const one of [helixflow, portkey, relay, mock]) await one.stop()
    return result(rounds, { memory, databaseMb }, options)
  },
}

interface Peer {
  readonly name: PeerName
  readonly pid: number
  readonly port: number
  readonly headers: Readonly<Record<string, string>>
}

interface Round {
  readonly round: number
  readonly peer: PeerName
  readonly load: LoadName
  readonly connections: number
  readonly requests: number
  readonly requestsPerSecond: number
  /** Of the gateway and the processes below it; for `direct`, of the upstream. */
  readonly cpuSecondsPer1000: number
  /** How busy the gateway's core was with the gateway, and the other core with upstream and load generator. */
  readonly gatewayCoreBusy: number
  readonly loadCoreBusy: number
  /** Cores busy with something else: what makes a run noisy. */
  readonly otherCoresBusy: number
  readonly latency: Omit<LoadResult, 'requests' | 'elapsedMs'>
}

function startScript(name: string, core: number, ...args: string[]): Promise<Started<{ port: number }>> {
  return startProcess({ command: process.execPath, args: [join(import.meta.dirname, name), ...args], core })
}

function startGateway(upstream: string): Promise<HelixFlow> {
  const config = {
    gateway: { port: 0 },
    models: { default: null },
    // No model runs here: no engine is looked for or built.
    engines: { llamaServer: '/bin/false' },
    upstreams: [{ name: 'mock', url: upstream, models: ['mock'], slots: 64 }],
  }
  return startHelixFlow({ config, core: GATEWAY_CORE })
}

function portkeyHeaders(upstream: string): Record<string, string> {
  return {
    authorization: 'Bearer not-checked-by-anybody',
    'x-portkey-provider': 'openai',
    'x-portkey-custom-host': `${upstream}/v1`,
  }
}

/** Every peer in turn, in another order each time, so that what disturbs one round disturbs all peers. */
async function measure(peers: readonly Peer[], mockPid: number, options: BenchOptions): Promise<Round[]> {
  const scale = options.quick ? 0.25 : 1
  const rounds = options.quick ? 3 : 5
  const found: Round[] = []
  for (let round = 0; round <= rounds; round++) {
    options.say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`)
    for (const name of LOADS) {
      for (const connections of [CONNECTIONS, 1]) {
        for (let at = 0; at < peers.length; at++) {
          const peer = peers[(at + round) % peers.length]
          if (!peer) continue
          const ms = scale * (connections === 1 ? 1_000 : 3_000)
          const one = await measureOne(peer, mockPid, { name, connections, ms })
          if (round > 0) found.push({ round, ...one })
        }
      }
    }
  }
  return found
}

async function measureOne(
  peer: Peer,
  mockPid: number,
  { name, connections, ms }: { readonly name: LoadName; readonly connections: number; readonly ms: number },
): Promise<Omit<Round, 'round'>> {
  const request = postRequest('/v1/chat/completions', peer.headers, requestBody(name))
  const before = costs(peer.pid, mockPid)
  const { requests, elapsedMs, ...latency } = await load({
    to: { host: '127.0.0.1', port: peer.port },
    requests: [request],
    connections,
    stopAfter: { ms },
    check: name === 'json' ? checkWhole : checkStream,
  })
  const after = costs(peer.pid, mockPid)
  const seconds = elapsedMs / 1_000
  const spent = after.peer - before.peer
  const loadCore = after.mock - before.mock + after.self - before.self
  const known = peer.pid === mockPid ? loadCore : loadCore + spent
  return {
    peer: peer.name,
    load: name,
    connections,
    requests,
    requestsPerSecond: requests / seconds,
    cpuSecondsPer1000: (1_000 * spent) / requests,
    gatewayCoreBusy: peer.pid === mockPid ? 0 : spent / seconds,
    loadCoreBusy: loadCore / seconds,
    otherCoresBusy: Math.max(0, after.machine - before.machine - known) / seconds,
    latency,
  }
}

function costs(peerPid: number, mockPid: number) {
  const { user, system } = process.cpuUsage()
  return {
    peer: cpuSecondsOf(peerPid),
    mock: cpuSecondsOf(mockPid),
    self: (user + system) / 1e6,
    machine: machineBusySeconds(),
  }
}

function requestBody(name: LoadName): object {
  return {
    model: 'mock',
    messages: [
      {
        role: 'system',
        content: 'You are a helpful assistant. Answer in one sentence, and do not explain it.',
      },
      { role: 'user', content: 'How does somebody who has a long way to go get to the end of the road?' },
    ],
    temperature: 0.7,
    max_tokens: 64,
    ...(name === 'sse' ? { stream: true } : {}),
  }
}

const TEXT = ' one small step at a time leads far if nobody turns back before the end of the road'

function checkWhole({ status, body }: Answer): void {
  const text = body.toString('utf8')
  if (status !== 200) throw new Error(`answer ${status}: ${text}`)
  const { choices, usage } = JSON.parse(text)
  if (choices[0].message.content !== TEXT || usage.total_tokens !== 59)
    throw new Error(`wrong answer: ${text}`)
}

function checkStream({ status, body }: Answer): void {
  const text = body.toString('utf8')
  if (status !== 200) throw new Error(`answer ${status}: ${text}`)
  const events = text.split('\n\n').length - 1
  const content = [...text.matchAll(/"content":"([^"]*)"/g)].map(([, word]) => word).join('')
  // The usage chunk was not asked for, so that it must not come.
  const right = events === CHUNKS + 1 && content === TEXT && !text.includes('"usage"')
  if (!right || !text.endsWith('data: [DONE]\n\n')) throw new Error(`wrong stream: ${text}`)
}

/** The measured gateway did write a line for each request. */
async function checkAccessLog(helixflow: HelixFlow, rounds: readonly Round[]): Promise<void> {
  const asked = rounds.filter(({ peer }) => peer === 'helixflow').reduce((sum, one) => sum + one.requests, 0)
  let lines = 0
  for await (const line of createInterface({ input: createReadStream(helixflow.logPath) })) {
    if (line.includes('"event":"request"') && line.includes('"status":200')) lines++
  }
  if (lines < asked) throw new Error(`${asked} requests, but ${lines} lines in the access log`)
}

function result(
  rounds: readonly Round[],
  memory: { readonly memory: readonly object[]; readonly databaseMb: number },
  { quick }: BenchOptions,
): BenchResult {
  const summary = PEERS.flatMap((peer) => LOADS.map((name) => summarise(rounds, peer, name)))
  return {
    settings: {
      quick,
      connections: CONNECTIONS,
      chunks: CHUNKS,
      gatewayCore: GATEWAY_CORE,
      loadCore: LOAD_CORE,
    },
    versions: {
      ...versionsOf('fastify', 'undici', 'pino', 'zod'),
      '@portkey-ai/gateway': portkeyVersion('@portkey-ai/gateway'),
      '@hono/node-server (of Portkey)': portkeyVersion('@hono/node-server'),
      'hono (of Portkey)': portkeyVersion('hono'),
    },
    notes: [
      'CPU is that of the gateway process and all below it: for helixflow, the embedded PostgreSQL is in it.',
      'helixflow checks an API key and writes its access log to a file; the others do neither.',
      '@portkey-ai/gateway 1.15.2 cannot stream on Node 20: it runs with bench/portkey/mutable-headers.mjs, for both loads.',
      'Requests per second are limited by the core of the load generator where loadCoreBusy is near 1.',
      'Every answer was checked, to its last byte.',
    ],
    goals: goals(rounds),
    summary: { peers: summary, ...memory },
    rounds,
    table: [
      ...table(
        ['load', 'peer', 'CPU-s/1000', 'requests/s', 'p50 ms', 'p99 ms', 'p50 at 1', 'added at 1'],
        summary.map((one) => [
          one.load,
          one.peer,
          one.cpuSecondsPer1000,
          one.requestsPerSecond,
          one.p50Ms,
          one.p99Ms,
          one.p50AloneMs,
          one.addedMs,
        ]),
      ),
      ...memory.memory.map((one) => JSON.stringify(one)),
    ],
  }
}

function summarise(rounds: readonly Round[], peer: PeerName, name: LoadName) {
  const busy = rounds.filter((one) => one.peer === peer && one.load === name && one.connections > 1)
  const alone = rounds.filter((one) => one.peer === peer && one.load === name && one.connections === 1)
  const middle = (all: readonly Round[], of: (one: Round) => number) => median(all.map(of))
  return {
    load: name,
    peer,
    cpuSecondsPer1000: middle(busy, (one) => one.cpuSecondsPer1000),
    requestsPerSecond: middle(busy, (one) => one.requestsPerSecond),
    gatewayCoreBusy: middle(busy, (one) => one.gatewayCoreBusy),
    loadCoreBusy: middle(busy, (one) => one.loadCoreBusy),
    p50Ms: middle(busy, (one) => one.latency.p50Ms),
    p99Ms: middle(busy, (one) => one.latency.p99Ms),
    p50AloneMs: middle(alone, (one) => one.latency.p50Ms),
    addedMs: median(addedMs(rounds, peer, name)),
  }
}

function goals(rounds: readonly Round[]) {
  const cpu = (peer: PeerName, name: LoadName) => cpuOf(rounds, peer, name)
  const ratio = (name: LoadName, to: PeerName) =>
    cpu('helixflow', name).map((own, at) => own / (cpu(to, name)[at] ?? Number.NaN))
  const beyondRelay = (name: LoadName) => {
    const relay = addedMs(rounds, 'relay', name)
    return addedMs(rounds, 'helixflow', name).map((own, at) => own - (relay[at] ?? Number.NaN))
  }
  return [
    goal('JSON: CPU, ratio to a bare relay', { atMost: 3 }, ratio('json', 'relay')),
    goal('JSON: CPU, ratio to Portkey', { atMost: 1 / 10 }, ratio('json', 'portkey')),
    goal('SSE: CPU, ratio to a bare relay', { atMost: 1.6 }, ratio('sse', 'relay')),
    goal('SSE: CPU, ratio to Portkey', { atMost: 1 / 3.5 }, ratio('sse', 'portkey')),
    goal('JSON: latency beyond the relay, ms', { atMost: 0.3 }, beyondRelay('json')),
    goal('SSE: latency beyond the relay, ms', { atMost: 0.3 }, beyondRelay('sse')),
  ]
}

function cpuOf(rounds: readonly Round[], peer: PeerName, name: LoadName): number[] {
  return rounds
    .filter((one) => one.peer === peer && one.load === name && one.connections > 1)
    .map((one) => one.cpuSecondsPer1000)
}

/** The median latency of one request at a time less that of the upstream asked directly, by round. */
function addedMs(rounds: readonly Round[], peer: PeerName, name: LoadName): number[] {
  const alone = (of: PeerName) =>
    rounds.filter((one) => one.peer === of && one.load === name && one.connections === 1)
  const direct = alone('direct')
  return alone(peer).map((one, at) => one.latency.p50Ms - (direct[at]?.latency.p50Ms ?? Number.NaN))
}

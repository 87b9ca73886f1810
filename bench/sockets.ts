import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type HelixFlow, startHelixFlow } from './helixflow.ts'
import { LeanSocket } from './lean-socket.ts'
import { pinTo } from './pin.ts'
import { type Started, startProcess } from './process.ts'
import { cpuSecondsOf, memoryOf } from './process-cost.ts'
import {
  type Benchmark,
  type BenchOptions,
  type BenchResult,
  goal,
  median,
  table,
  versionsOf,
} from './report.ts'

const SERVER_CORE = 0
const LOAD_CORE = 1
const PEERS = ['raw', 'ws', 'helixflow'] as const
const CLIENTS = 1_000
const IDLE = 2_000
const STREAMS = 200
const STREAM_EVERY_MS = 50
/** Of each stream, a second. */
const BEGINNING_CHUNKS = 20
const TOPIC = 'custom/bench'
const LOST_AFTER_MS = 20_000
/** About 200 bytes, as a token with what stands around it. */
const FILLER = 'x'.repeat(120)

type PeerName = (typeof PEERS)[number]

/** What it costs to tell many clients something at once, and how late they hear it. */
export const sockets: Benchmark = {
  summary: 'WebSockets: broadcasts, memory, and how late a token is, against a bare socket and ws',
  run: async (options) => {
    pinTo(LOAD_CORE)
    options.say('starting the servers')
    const chunks = options.quick ? 60 : 200
    const upstream = await script('paced-openai.mjs', LOAD_CORE, `${STREAM_EVERY_MS}`, `${chunks}`)
    const floors = await Promise.all(
      ['raw', 'ws'].map((name) => script('socket-floor.mjs', SERVER_CORE, name)),
    )
    const helixflow = await startServer(`http://127.0.0.1:${upstream.ready.port}`)
    const peers = PEERS.map((name, at) => peerOf(name, floors[at], helixflow))
    const memory: Memory[] = []
    for (const peer of peers) memory.push(await idleMemory(peer, options))
    const rounds = await fanOut(peers, options)
    const late = await lateness(helixflow, upstream.ready.port, options)
    for (const one of [helixflow, ...floors, upstream]) await one.stop()
    return result(rounds, memory, late, options)
  },
}

interface Peer {
  readonly name: PeerName
  readonly pid: number
  readonly port: number
  open(): Promise<LeanSocket>
  /** Says this to everybody who is there. */
  publish(publisher: LeanSocket, text: string): void
}

interface Memory {
  readonly peer: PeerName
  readonly connections: number
  readonly kibPerConnection: number
}

interface Round {
  readonly round: number
  readonly peer: PeerName
  readonly load: 'broadcast' | 'stream'
  readonly messages: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly lastP50Ms: number
  readonly lastP99Ms: number
  readonly cpuSecondsPer100k: number
}

interface Lateness {
  readonly way: 'upstream alone' | 'helixflow'
  readonly round: number
  readonly chunks: number
  readonly p50Ms: number
  readonly p99Ms: number
}

function script(name: string, core: number, ...args: string[]): Promise<Started<{ port: number }>> {
  return startProcess({ command: process.execPath, args: [join(import.meta.dirname, name), ...args], core })
}

function startServer(upstream: string): Promise<HelixFlow> {
  return startHelixFlow({
    core: SERVER_CORE,
    config: {
      gateway: { port: 0 },
      models: { default: null },
      engines: { llamaServer: '/bin/false' },
      upstreams: [{ name: 'paced', url: upstream, models: ['mock'], slots: STREAMS }],
      realtime: { connectionsPerKey: 10_000, handshakesPerSecond: 100_000 },
    },
  })
}

function peerOf(name: PeerName, floor: Started<{ port: number }> | undefined, helixflow: HelixFlow): Peer {
  if (name !== 'helixflow') {
    if (!floor) throw new Error(`${name} was not started`)
    const { port } = floor.ready
    const open = () => LeanSocket.open(port, '/', {})
    return { name, pid: floor.pid, port, open, publish: (publisher, text) => publisher.send(text) }
  }
  let published = 0
  return {
    name,
    pid: helixflow.pid,
    port: helixflow.port,
    open: async () => {
      const socket = await welcomed(helixflow)
      const subscribed = socket.next((text) => text.includes('"ack"'))
      socket.send(JSON.stringify({ type: 'subscribe', id: 's', topic: TOPIC }))
      await subscribed
      return socket
    },
    publish: (publisher, text) =>
      publisher.send(
        JSON.stringify({ type: 'publish', id: `p${++published}`, topic: TOPIC, data: JSON.parse(text) }),
      ),
  }
}

/** A connection that has said hello and was welcomed. */
async function welcomed({ port, apiKey }: HelixFlow): Promise<LeanSocket> {
  const headers = { authorization: `Bearer ${apiKey}`, 'sec-websocket-protocol': 'helixflow.v1' }
  const socket = await LeanSocket.open(port, '/ws', headers)
  const welcome = socket.next((text) => text.includes('"welcome"'))
  socket.send(JSON.stringify({ type: 'hello' }))
  await welcome
  return socket
}

/** So many at a time that none waits long. */
async function openAll(count: number, open: () => Promise<LeanSocket>): Promise<LeanSocket[]> {
  const all: LeanSocket[] = []
  while (all.length < count) {
    const some = Array.from({ length: Math.min(50, count - all.length) }, open)
    all.push(...(await Promise.all(some)))
  }
  return all
}

async function idleMemory({ name, pid, open }: Peer, { quick, say }: BenchOptions): Promise<Memory> {
  const connections = quick ? IDLE / 2 : IDLE
  say(`${name}: ${connections} idle connections`)
  // The first ones pay for code that is compiled and pools that grow.
  for (const one of await openAll(200, open)) one.close()
  await pause(1_000)
  const beforeMb = memoryOf(pid).nowMb
  const all = await openAll(connections, open)
  await pause(2_000)
  const afterMb = memoryOf(pid).nowMb
  for (const one of all) one.close()
  await pause(1_000)
  return { peer: name, connections, kibPerConnection: ((afterMb - beforeMb) * 1e6) / 1_024 / connections }
}

/** Every peer in turn, in another order each time. */
async function fanOut(peers: readonly Peer[], { quick, say }: BenchOptions): Promise<Round[]> {
  const rounds = quick ? 3 : 5
  const found: Round[] = []
  for (let round = 0; round <= rounds; round++) {
    say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`)
    for (let at = 0; at < peers.length; at++) {
      const peer = peers[(at + round) % peers.length]
      if (!peer) continue
      const all = await openAll(CLIENTS, peer.open)
      // At most ten a second: the next begins long after the last client has heard of this one.
      const broadcast = await tell(peer, all, { messages: quick ? 10 : 30, everyMs: 100 })
      const stream = await tell(peer, all, { messages: quick ? 40 : 120, everyMs: 50 })
      for (const one of all) one.close()
      if (round > 0)
        found.push(
          { round, peer: peer.name, load: 'broadcast', ...broadcast },
          { round, peer: peer.name, load: 'stream', ...stream },
        )
      await pause(200)
    }
  }
  return found
}

/** Messages to everybody, one every so often: how late each client, and the last of them, heard each. */
async function tell(
  { pid, publish }: Peer,
  clients: readonly LeanSocket[],
  { messages, everyMs }: { readonly messages: number; readonly everyMs: number },
) {
  const sentMs: number[] = []
  const heard = Array.from({ length: messages }, () => 0)
  const lates: number[] = []
  const lasts: number[] = []
  let finish = () => {}
  const finished = new Promise<void>((resolve, reject) => {
    const lost = setTimeout(() => reject(new Error('a message was lost')), messages * everyMs + LOST_AFTER_MS)
    finish = () => {
      clearTimeout(lost)
      resolve()
    }
  })
  for (const client of clients) {
    client.onText = (payload) => {
      const text = payload.toString('latin1')
      const number = Number(/"bench":(\d+)/.exec(text)?.[1] ?? Number.NaN)
      if (Number.isNaN(number)) return
      const lateMs = performance.now() - (sentMs[number] ?? Number.NaN)
      lates.push(lateMs)
      heard[number] = (heard[number] ?? 0) + 1
      if (heard[number] === clients.length) lasts.push(lateMs)
      if (lasts.length === messages) finish()
    }
  }
  const [publisher] = clients
  if (!publisher) throw new Error('nobody is there')
  const before = cpuSecondsOf(pid)
  const startMs = performance.now()
  for (let number = 0; number < messages; number++) {
    await pause(Math.max(0, startMs + number * everyMs - performance.now()))
    sentMs[number] = performance.now()
    publish(publisher, JSON.stringify({ bench: number, filler: FILLER }))
  }
  await finished
  const spent = cpuSecondsOf(pid) - before
  return {
    messages,
    p50Ms: quantile(lates, 0.5),
    p99Ms: quantile(lates, 0.99),
    lastP50Ms: quantile(lasts, 0.5),
    lastP99Ms: quantile(lasts, 0.99),
    cpuSecondsPer100k: (1e5 * spent) / (messages * clients.length),
  }
}

/** How old a token is when its reader has it, through HelixFlow and straight from the upstream. */
async function lateness(
  helixflow: HelixFlow,
  upstreamPort: number,
  { quick, say }: BenchOptions,
): Promise<Lateness[]> {
  const found: Lateness[] = []
  for (let round = 0; round <= (quick ? 2 : 4); round++) {
    say(`${STREAMS} streams, round ${round}`)
    const alone = await streamed(() => readUpstream(upstreamPort))
    const through = await streamed(() => readStream(helixflow))
    if (round > 0)
      found.push({ way: 'upstream alone', round, ...alone }, { way: 'helixflow', round, ...through })
  }
  return found
}

async function streamed(read: () => Promise<readonly number[]>) {
  // Spread over one beat, as streams of different clients are.
  const one = async (at: number) => {
    await pause((at * STREAM_EVERY_MS) / STREAMS)
    return read()
  }
  const all = await Promise.all(Array.from({ length: STREAMS }, (_, at) => one(at)))
  // While others still connect, it is their beginning that is measured.
  const lates = all.flatMap((lates) => lates.slice(BEGINNING_CHUNKS))
  return { chunks: lates.length, p50Ms: quantile(lates, 0.5), p99Ms: quantile(lates, 0.99) }
}

const QUESTION = { model: 'mock', messages: [{ role: 'user', content: 'What time is it?' }] }

async function readUpstream(port: number): Promise<readonly number[]> {
  const answer = await fetch(`http://127.0.0.1:${port}/chat/completions`, {
    method: 'POST',
    body: JSON.stringify({ ...QUESTION, stream: true }),
  })
  const lates: number[] = []
  const decoder = new TextDecoder()
  for await (const bytes of answer.body ?? []) addLates(decoder.decode(bytes), lates)
  return lates
}

async function readStream(helixflow: HelixFlow): Promise<readonly number[]> {
  const socket = await welcomed(helixflow)
  const lates: number[] = []
  socket.onText = (payload) => addLates(payload.toString('latin1'), lates)
  const ended = socket.next((text) => {
    if (text.includes('"stream.error"') || text.includes('"type":"error"')) throw new Error(text)
    return text.includes('"stream.end"')
  })
  socket.send(JSON.stringify({ type: 'chat.create', id: randomUUID(), request: QUESTION }))
  await ended
  socket.close()
  return lates
}

/** The text of each piece is the time at which it was said. */
function addLates(text: string, lates: number[]): void {
  for (const [said = ''] of text.matchAll(/\d{12,}(?= )/g))
    lates.push(Number(process.hrtime.bigint() - BigInt(said)) / 1e6)
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

function result(
  rounds: readonly Round[],
  memory: readonly Memory[],
  late: readonly Lateness[],
  { quick }: BenchOptions,
): BenchResult {
  const of = (peer: PeerName, load: Round['load'], what: 'lastP99Ms' | 'cpuSecondsPer100k') =>
    rounds.filter((one) => one.peer === peer && one.load === load).map((one) => one[what])
  const over = (own: readonly number[], others: readonly number[]) =>
    own.map((value, at) => value / (others[at] ?? Number.NaN))
  // The promise is "1.25 times the floor and 5 ms": in one number, how much of that is used.
  const used = (load: Round['load']) =>
    of('helixflow', load, 'lastP99Ms').map(
      (own, at) => own / (1.25 * (of('raw', load, 'lastP99Ms')[at] ?? Number.NaN) + 5),
    )
  const cpu = (load: Round['load']) =>
    over(of('helixflow', load, 'cpuSecondsPer100k'), of('ws', load, 'cpuSecondsPer100k'))
  const kib = (peer: PeerName) => memory.find((one) => one.peer === peer)?.kibPerConnection ?? Number.NaN
  const through = late.filter(({ way }) => way === 'helixflow').map(({ p99Ms }) => p99Ms)
  const cells = PEERS.flatMap((peer) =>
    (['broadcast', 'stream'] as const).map((load) => {
      const some = rounds.filter((one) => one.peer === peer && one.load === load)
      const middle = (what: (one: Round) => number) => median(some.map(what))
      return [
        load,
        peer,
        middle((one) => one.p50Ms),
        middle((one) => one.p99Ms),
        middle((one) => one.lastP99Ms),
        middle((one) => one.cpuSecondsPer100k),
      ]
    }),
  )
  return {
    settings: { quick, clients: CLIENTS, streams: STREAMS, streamEveryMs: STREAM_EVERY_MS },
    versions: versionsOf('ws', 'fastify'),
    notes: [
      'helixflow checks an API key at each handshake, and its clients said hello and follow a topic; the others do neither.',
      'CPU is that of the server process and all below it: for helixflow, the embedded PostgreSQL is in it.',
      'Tokens: upstream and readers share the other core, so that their own delay is in both ways.',
    ],
    goals: [
      goal('broadcast: last client, share of 1.25 floors + 5 ms', { atMost: 1 }, used('broadcast')),
      goal('20 a second: last client, share of 1.25 floors + 5 ms', { atMost: 1 }, used('stream')),
      goal('broadcast: CPU, ratio to ws', { atMost: 1 }, cpu('broadcast')),
      goal('20 a second: CPU, ratio to ws', { atMost: 1 }, cpu('stream')),
      goal('memory of an idle connection beyond ws, KiB', { atMost: 12 }, [kib('helixflow') - kib('ws')]),
      goal(`token, engine to client, p99 ms at ${STREAMS} streams`, { atMost: 5 }, through),
    ],
    summary: { memory, late },
    rounds,
    table: [
      ...table(['load', 'peer', 'p50 ms', 'p99 ms', 'last p99 ms', 'CPU-s/100k'], cells),
      ...memory.map((one) => JSON.stringify(one)),
      ...late.map((one) => JSON.stringify(one)),
    ],
  }
}

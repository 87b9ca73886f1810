import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import type { NetConnectOpts } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../src/core/log.ts'
import { writeTinyModel } from '../src/engines/gguf/tiny-model.ts'
import { ensureLlamaServer, type LlamaEngine } from '../src/engines/llama-locate.ts'
import { systemClock } from '../src/system.ts'
import type { Answer } from './answer-reader.ts'
import { type HelixFlow, startHelixFlow } from './helixflow.ts'
import { load, postRequest } from './load.ts'
import { startAndPoll } from './process.ts'
import { treeOf } from './process-cost.ts'
import {
  type Benchmark,
  type BenchOptions,
  type BenchResult,
  goal,
  median,
  table,
  versionsOf,
} from './report.ts'

const SLOTS = 8
const STREAMS = [1, SLOTS] as const
const MODELS = ['smollm2-135m-instruct', 'tiny'] as const
const TOKENS_MAX = 256
const cache = join(import.meta.dirname, '..', 'node_modules', '.cache', 'helixflow')

/** What is left of an engine's speed behind HelixFlow. */
export const tokens: Benchmark = {
  summary: 'tokens per second, against llama-server asked directly',
  run: async (options) => {
    const engine = await findEngine(options)
    const helixflow = await startBoth(engine, options)
    const asked: Asked[] = []
    for (const model of MODELS) {
      const through = throughHelixFlow(model, helixflow)
      // Loads it, and with it the process that the other one is a twin of.
      await measureOne(through, 1, 1)
      asked.push({ model, through, direct: await startTwin(model, helixflow.pid) })
    }
    const rounds = await measure(asked, options)
    for (const { direct } of asked) await direct.stop()
    await helixflow.stop()
    return result(rounds, engine, options)
  },
}

interface Asked {
  readonly model: string
  readonly through: Way
  readonly direct: Twin
}

/** A way to ask a model. */
interface Way {
  readonly to: NetConnectOpts
  readonly requests: readonly Buffer[]
}

interface Twin extends Way {
  stop(): Promise<void>
}

interface Round {
  readonly round: number
  readonly model: string
  readonly streams: number
  readonly requestsPerStream: number
  readonly direct: Speed
  readonly through: Speed
  readonly ratio: number
}

interface Speed {
  readonly tokens: number
  readonly elapsedMs: number
  readonly tokensPerSecond: number
}

async function findEngine({ say }: BenchOptions): Promise<LlamaEngine> {
  say('finding llama-server; it is built when there is none, which takes minutes')
  return ensureLlamaServer({
    searchPath: process.env['PATH'] ?? '',
    cacheDirectory: join(cache, 'engines'),
    onProgress: () => {},
    clock: systemClock,
    log: silentLog,
  })
}

async function startBoth(engine: LlamaEngine, { say }: BenchOptions): Promise<HelixFlow> {
  const directory = join(cache, 'bench', 'models')
  mkdirSync(directory, { recursive: true })
  const tiny = join(directory, 'tiny.gguf')
  if (!existsSync(tiny)) await writeTinyModel(tiny, { seed: 1, contextLength: 2_048 })
  say('starting helixflow; it fetches SmolLM2 (98 MB) the first time')
  const config = {
    gateway: { port: 0 },
    models: { directory, default: MODELS[0], slots: SLOTS, contextLength: 1_024 },
    engines: { llamaServer: engine.serverPath },
  }
  return startHelixFlow({ config })
}

function throughHelixFlow(model: string, { port, apiKey }: HelixFlow): Way {
  return { to: { host: '127.0.0.1', port }, requests: requestsFor(model, apiKey) }
}

/** A second process of the same engine with the very flags that HelixFlow has started it with. */
async function startTwin(model: string, helixflowPid: number): Promise<Twin> {
  const original = engineOf(model, helixflowPid)
  const directory = mkdtempSync(join(tmpdir(), 'helixflow-bench-'))
  const socketPath = join(directory, 'twin.sock')
  const [command = '', ...args] = original.commandLine
  args[args.indexOf('--host') + 1] = socketPath
  const { stop } = await startAndPoll(
    {
      command,
      args,
      environment: original.environment,
      stderr: 'ignore',
      cleanUp: () => rmSync(directory, { recursive: true, force: true }),
    },
    () => isHealthy(socketPath),
  )
  const key = original.environment['LLAMA_API_KEY'] ?? ''
  return { to: { path: socketPath }, requests: requestsFor(model, key), stop }
}

function engineOf(model: string, helixflowPid: number) {
  for (const pid of treeOf(helixflowPid)) {
    const commandLine = entriesOf(pid, 'cmdline')
    if (commandLine[commandLine.indexOf('--alias') + 1] !== model) continue
    const environment = entriesOf(pid, 'environ').map((entry) => entry.split(/=(.*)/s) as [string, string])
    return { commandLine, environment: Object.fromEntries(environment) }
  }
  throw new Error(`no engine of ${model} below process ${helixflowPid}`)
}

function entriesOf(pid: number, file: 'cmdline' | 'environ'): string[] {
  return readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0').filter(Boolean)
}

function isHealthy(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const outgoing = request({ socketPath, path: '/health', agent: false }, (incoming) => {
      incoming.resume()
      resolve(incoming.statusCode === 200)
    })
    outgoing.once('error', () => resolve(false))
    outgoing.end()
  })
}

const SUBJECTS = [
  'a lighthouse',
  'a river',
  'two brothers',
  'a train',
  'the sea',
  'a garden',
  'winter',
  'bees',
]

/** One request per stream, all of them different, so that no answer comes from another one's cache. */
function requestsFor(model: string, key: string): Buffer[] {
  return SUBJECTS.map((subject) =>
    postRequest(
      '/v1/chat/completions',
      { authorization: `Bearer ${key}` },
      {
        model,
        messages: [{ role: 'user', content: `Write a very long story about ${subject}, with many details.` }],
        temperature: 0,
        seed: 1,
        max_tokens: TOKENS_MAX,
        stream: true,
        stream_options: { include_usage: true },
      },
    ),
  )
}

async function measure(asked: readonly Asked[], { quick, say }: BenchOptions): Promise<Round[]> {
  const rounds = quick ? 3 : 5
  const windowMs = quick ? 1_500 : 5_000
  const found: Round[] = []
  for (const { model, through, direct } of asked) {
    for (const streams of STREAMS) {
      say(`${model}, ${streams} at a time`)
      await measureOne(through, streams, 1)
      const { elapsedMs } = await measureOne(direct, streams, 1)
      const requestsPerStream = Math.max(1, Math.round(windowMs / elapsedMs))
      for (let round = 1; round <= rounds; round++) {
        // Whoever comes second may find the machine warmer: they take turns.
        const first = round % 2 === 1 ? await measureOne(direct, streams, requestsPerStream) : undefined
        const own = await measureOne(through, streams, requestsPerStream)
        const other = first ?? (await measureOne(direct, streams, requestsPerStream))
        const ratio = own.tokensPerSecond / other.tokensPerSecond
        found.push({ round, model, streams, requestsPerStream, direct: other, through: own, ratio })
      }
    }
  }
  return found
}

async function measureOne({ to, requests }: Way, streams: number, requestsPerStream: number): Promise<Speed> {
  let tokens = 0
  const { elapsedMs } = await load({
    to,
    requests,
    connections: streams,
    stopAfter: { requests: requestsPerStream },
    check: (answer) => {
      tokens += tokensOf(answer)
    },
  })
  return { tokens, elapsedMs, tokensPerSecond: (1_000 * tokens) / elapsedMs }
}

/** What the engine says that it has generated. */
function tokensOf({ status, body }: Answer): number {
  const text = body.toString('utf8')
  const usage = /"completion_tokens":(\d+)/.exec(text)
  if (status !== 200 || !usage || !text.endsWith('data: [DONE]\n\n'))
    throw new Error(`answer ${status}: ${text}`)
  return Number(usage[1])
}

function result(rounds: readonly Round[], engine: LlamaEngine, { quick }: BenchOptions): BenchResult {
  const cases = MODELS.flatMap((model) => STREAMS.map((streams) => ({ model, streams })))
  const roundsOf = ({ model, streams }: (typeof cases)[number]) =>
    rounds.filter((one) => one.model === model && one.streams === streams)
  const summary = cases.map((one) => ({
    ...one,
    directTokensPerSecond: median(roundsOf(one).map(({ direct }) => direct.tokensPerSecond)),
    throughTokensPerSecond: median(roundsOf(one).map(({ through }) => through.tokensPerSecond)),
    ratio: median(roundsOf(one).map(({ ratio }) => ratio)),
  }))
  return {
    settings: { quick, slots: SLOTS, tokensMax: TOKENS_MAX },
    versions: { ...versionsOf('undici', 'fastify'), 'llama.cpp': engine.version ?? 'unknown' },
    notes: [
      'Directly is over the Unix socket of a second process with the flags and environment of the one behind HelixFlow.',
      'Client, gateway and engine share the cores of the machine: what the gateway uses, the engine lacks.',
    ],
    goals: cases.map((one) =>
      goal(
        `${one.model}, ${one.streams} at a time: tokens/s, ratio to llama-server`,
        { atLeast: 0.97 },
        roundsOf(one).map(({ ratio }) => ratio),
      ),
    ),
    summary,
    rounds,
    table: table(
      ['model', 'streams', 'direct tokens/s', 'through tokens/s', 'ratio'],
      summary.map((one) => [
        one.model,
        one.streams,
        one.directTokensPerSecond,
        one.throughTokensPerSecond,
        one.ratio,
      ]),
    ),
  }
}

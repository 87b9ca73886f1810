import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../src/core/log.ts'
import { type TinyModelOptions, writeTinyModel } from '../src/engines/gguf/tiny-model.ts'
import { buildLlamaServer, type LlamaBuild } from '../src/engines/llama-build.ts'
import { type LlamaServer, startLlamaServer } from '../src/engines/llama-server.ts'
import { systemClock } from '../src/system.ts'
import type { Answer } from './answer-reader.ts'
import { load, postRequest } from './load.ts'
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

const STREAMS = [1, 8, 16, 64] as const
const SLOTS = 64
const CONTEXT_LENGTH = 512
/** Of each answer; with those of the prompt they fit a slot. */
const tokensOfAnswers = ({ quick }: Pick<BenchOptions, 'quick'>): number => (quick ? 48 : 192)

/** Where computing is next to nothing, and where there is some, and a vocabulary as real models have it to sample from. */
const MODELS = {
  tiny: {},
  small: { vocabSize: 32_000, embeddingLength: 128, feedForwardLength: 256, type: 'Q8_0' },
} as const satisfies Record<string, Partial<TinyModelOptions>>

type ModelName = keyof typeof MODELS

const cache = join(import.meta.dirname, '..', 'node_modules', '.cache', 'helixflow')

/** What our patches of llama-server gain. */
export const engine: Benchmark = {
  summary: 'tokens per second of our llama-server, against the same one without our patches',
  run: async (options) => {
    const builds = await findBuilds(options)
    const rounds: Round[] = []
    for (const model of Object.keys(MODELS) as ModelName[]) {
      const modelPath = await modelFile(model)
      for (const streams of STREAMS)
        rounds.push(...(await measure(builds, { model, modelPath, streams }, options)))
    }
    return result(rounds, builds, options)
  },
}

interface Builds {
  readonly patched: LlamaBuild
  readonly upstream: LlamaBuild
}

interface Case {
  readonly model: ModelName
  readonly modelPath: string
  readonly streams: number
}

interface Round {
  readonly round: number
  readonly model: ModelName
  readonly streams: number
  readonly upstream: Speed
  readonly patched: Speed
  readonly ratio: number
  readonly otherCoresBusy: number
}

interface Load {
  readonly streams: number
  readonly tokens: number
  /** Requests of each stream. */
  readonly repeats: number
}

interface Speed {
  readonly tokens: number
  readonly elapsedMs: number
  readonly tokensPerSecond: number
  readonly cpuMicrosecondsPerToken: number
}

async function findBuilds({ say }: BenchOptions): Promise<Builds> {
  say('finding both engines; each is built when it is not there, which takes minutes')
  const common = { searchPath: process.env['PATH'] ?? '', onProgress: () => {}, log: silentLog }
  const patched = await buildLlamaServer({ ...common, cacheDirectory: join(cache, 'engines') })
  const upstreamCache = join(cache, 'engines-upstream')
  return {
    patched,
    upstream: await buildLlamaServer({ ...common, cacheDirectory: upstreamCache, patches: [] }),
  }
}

async function modelFile(model: ModelName): Promise<string> {
  const directory = join(cache, 'bench', 'models')
  mkdirSync(directory, { recursive: true })
  const path = join(directory, `engine-${model}.gguf`)
  if (!existsSync(path)) await writeTinyModel(path, { seed: 1, ...MODELS[model] })
  return path
}

/** Both run all the time and are asked in turn: whoever comes second may find the machine warmer. */
async function measure(builds: Builds, one: Case, { quick, say }: BenchOptions): Promise<Round[]> {
  const { model, streams } = one
  say(`${model}, ${streams} streams`)
  const directory = mkdtempSync(join(tmpdir(), 'hf-bench-'))
  const upstream = await start(builds.upstream, one, directory)
  const patched = await start(builds.patched, one, directory)
  try {
    const once = { streams, tokens: tokensOfAnswers({ quick }), repeats: 1 }
    const { elapsedMs } = await ask(upstream, once)
    await ask(patched, once)
    const repeats = Math.max(1, Math.round((quick ? 1_000 : 5_000) / elapsedMs))
    const many = { ...once, repeats }
    const found: Round[] = []
    for (let round = 1; round <= (quick ? 3 : 7); round++) {
      const busyBefore = machineBusySeconds()
      // Client and engines: they are children of this process.
      const ownBefore = cpuSecondsOf(process.pid)
      const first = round % 2 === 1 ? await ask(upstream, many) : undefined
      const own = await ask(patched, many)
      const other = first ?? (await ask(upstream, many))
      const elapsedSeconds = (own.elapsedMs + other.elapsedMs) / 1_000
      const others = machineBusySeconds() - busyBefore - (cpuSecondsOf(process.pid) - ownBefore)
      found.push({
        round,
        model,
        streams,
        upstream: other,
        patched: own,
        ratio: own.tokensPerSecond / other.tokensPerSecond,
        otherCoresBusy: Math.max(0, others / elapsedSeconds),
      })
    }
    return found
  } finally {
    await Promise.all([upstream.stop(2_000), patched.stop(2_000)])
    rmSync(directory, { recursive: true, force: true })
  }
}

function start(build: LlamaBuild, { modelPath, streams }: Case, directory: string): Promise<LlamaServer> {
  return startLlamaServer({
    engine: { origin: 'built', ...build },
    modelPath,
    alias: 'bench',
    kind: 'generation',
    slots: Math.min(SLOTS, streams),
    contextLength: CONTEXT_LENGTH,
    // The other core is for the streams: theirs is the work that is measured.
    threads: 1,
    socketDirectory: directory,
    startTimeoutMs: 60_000,
    clock: systemClock,
    log: silentLog,
  })
}

async function ask(server: LlamaServer, { streams, tokens, repeats }: Load): Promise<Speed> {
  let generated = 0
  const cpuBefore = cpuSecondsOf(server.pid)
  const { elapsedMs } = await load({
    to: { path: server.address.socketPath },
    requests: requestsFor(server, { streams, tokens, repeats }),
    connections: streams,
    stopAfter: { requests: repeats },
    check: (answer) => {
      generated += tokensOf(answer)
    },
  })
  const cpuSeconds = cpuSecondsOf(server.pid) - cpuBefore
  return {
    tokens: generated,
    elapsedMs,
    tokensPerSecond: (1_000 * generated) / elapsedMs,
    cpuMicrosecondsPerToken: (1e6 * cpuSeconds) / generated,
  }
}

/** Sampled with the defaults of the server, as a client that asks for nothing special gets it. */
function requestsFor({ address }: LlamaServer, { streams, tokens }: Load): Buffer[] {
  return Array.from({ length: streams }, (_, index) =>
    postRequest(
      '/v1/chat/completions',
      { authorization: `Bearer ${address.apiKey}` },
      {
        messages: [{ role: 'user', content: `Write a very long story about the number ${index}.` }],
        seed: index + 1,
        max_tokens: tokens,
        ignore_eos: true,
        stream: true,
        stream_options: { include_usage: true },
      },
    ),
  )
}

function tokensOf({ status, body }: Answer): number {
  const text = body.toString('utf8')
  const usage = /"completion_tokens":(\d+)/.exec(text)
  if (status !== 200 || !usage || !text.endsWith('data: [DONE]\n\n')) {
    throw new Error(`answer ${status}: ${text}`)
  }
  return Number(usage[1])
}

function result(rounds: readonly Round[], { patched }: Builds, { quick }: BenchOptions): BenchResult {
  const cases = (Object.keys(MODELS) as ModelName[]).flatMap((model) =>
    STREAMS.map((streams) => ({ model, streams })),
  )
  const summary = cases.map((one) => {
    const own = rounds.filter(({ model, streams }) => model === one.model && streams === one.streams)
    const middle = (pick: (round: Round) => number) => median(own.map(pick))
    return {
      ...one,
      upstreamTokensPerSecond: middle((round) => round.upstream.tokensPerSecond),
      patchedTokensPerSecond: middle((round) => round.patched.tokensPerSecond),
      upstreamCpuMicroseconds: middle((round) => round.upstream.cpuMicrosecondsPerToken),
      patchedCpuMicroseconds: middle((round) => round.patched.cpuMicrosecondsPerToken),
      ratio: middle(({ ratio }) => ratio),
    }
  })
  return {
    settings: {
      quick,
      slots: SLOTS,
      contextLength: CONTEXT_LENGTH,
      tokens: tokensOfAnswers({ quick }),
      models: MODELS,
    },
    versions: { ...versionsOf(), 'llama.cpp': patched.version, patches: patched.patches.join(' ') },
    notes: [
      'Both engines are made from the same source against the same libraries and have the same flags.',
      'Client and engine share the cores of the machine.',
      'The models have random weights: how fast a token is computed depends on their shape alone.',
    ],
    goals: cases.map((one) =>
      goal(
        `${one.model}, ${one.streams} streams: tokens/s, ratio to upstream`,
        { atLeast: one.streams >= 16 && one.model === 'tiny' ? 1.3 : 0.97 },
        rounds
          .filter(({ model, streams }) => model === one.model && streams === one.streams)
          .map(({ ratio }) => ratio),
      ),
    ),
    summary,
    rounds,
    table: table(
      ['model', 'streams', 'upstream tokens/s', 'patched tokens/s', 'ratio', 'us CPU per token', 'patched'],
      summary.map((one) => [
        one.model,
        one.streams,
        one.upstreamTokensPerSecond,
        one.patchedTokensPerSecond,
        one.ratio,
        one.upstreamCpuMicroseconds,
        one.patchedCpuMicroseconds,
      ]),
    ),
  }
}

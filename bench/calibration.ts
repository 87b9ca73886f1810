import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { silentLog } from '../src/core/log.ts'
import { seededRandom } from '../src/core/random.ts'
import { type TinyModelOptions, writeTinyModel } from '../src/engines/gguf/tiny-model.ts'
import { ensureLlamaServer, type LlamaEngine } from '../src/engines/llama-locate.ts'
import { type LlamaServer, startLlamaServer } from '../src/engines/llama-server.ts'
import { fitStepModel, type StepSample } from '../src/simulator/calibrate.ts'
import type { WorkloadRequest } from '../src/simulator/job.ts'
import { replay } from '../src/simulator/replay.ts'
import { quantilesOf } from '../src/simulator/report.ts'
import { exponential } from '../src/simulator/samplers.ts'
import { type StepModel, stepMs, unloadedTokenMs } from '../src/simulator/step-model.ts'
import { systemClock } from '../src/system.ts'
import { ask, probe } from './engine-probe.ts'
import {
  type Benchmark,
  type BenchOptions,
  type BenchResult,
  goal,
  median,
  table,
  versionsOf,
} from './report.ts'
import { oneInstance } from './simulated-fleet.ts'

const SLOTS = 4
const CONTEXT = 1_024
const STEP_TOKENS = 512
const cache = join(import.meta.dirname, '..', 'node_modules', '.cache', 'helixflow')

const MODELS: Readonly<Record<string, TinyModelOptions>> = {
  tiny: { seed: 1, contextLength: CONTEXT },
  'random-30m': {
    ...{ seed: 2, name: 'random-30m', contextLength: CONTEXT, layers: 8, embeddingLength: 512, headCount: 8 },
    ...{ headCountKv: 4, feedForwardLength: 1_536, vocabSize: 4_000, type: 'Q8_0' },
  },
}

/** How far the simulator is from the engine that it was fitted to, on requests that the fit has not seen. */
export const calibration: Benchmark = {
  summary:
    'the simulator beside the engine that it was fitted to: time to the first token, tokens per second',
  run: async (options) => {
    const engine = await ensureLlamaServer({
      ...{
        searchPath: process.env['PATH'] ?? '',
        cacheDirectory: join(cache, 'engines'),
        onProgress: () => {},
      },
      ...{ clock: systemClock, log: silentLog },
    })
    const rounds: Round[] = []
    for (const [model, shape] of Object.entries(MODELS)) {
      const server = await startModel(engine, model, shape)
      rounds.push(...(await measure(server.server, model, options)))
      await server.stop()
    }
    return result(rounds, engine, options)
  },
}

interface Figures {
  readonly firstP50Ms: number
  readonly firstP95Ms: number
  readonly tokensPerSecond: number
}

interface Round {
  readonly model: string
  readonly round: number
  readonly load: number
  readonly fitted: StepModel
  readonly live: Figures
  readonly simulated: Figures
}

async function startModel(engine: LlamaEngine, model: string, shape: TinyModelOptions) {
  const models = join(cache, 'bench', 'models')
  mkdirSync(models, { recursive: true })
  const modelPath = join(models, `calibration-${model}.gguf`)
  if (!existsSync(modelPath)) await writeTinyModel(modelPath, shape)
  const directory = mkdtempSync(join(tmpdir(), 'hf-'))
  const server = await startLlamaServer({
    ...{
      engine,
      modelPath,
      alias: model,
      kind: 'generation',
      slots: SLOTS,
      contextLength: CONTEXT,
      threads: 1,
    },
    ...{
      socketDirectory: join(directory, 'run'),
      startTimeoutMs: 60_000,
      clock: systemClock,
      log: silentLog,
    },
  })
  const stop = async () => {
    await server.stop(0)
    rmSync(directory, { recursive: true, force: true })
  }
  return { server, stop }
}

/** Share of what the engine could do at most that is asked of it. */
const LOADS = [0.25, 0.5] as const

/** Probes before and after what is compared: a machine that grows slower meanwhile is in both. */
async function measure(server: LlamaServer, model: string, { quick, say }: BenchOptions): Promise<Round[]> {
  const rounds: Round[] = []
  await probe(server, SLOTS)
  for (let round = 1; round <= (quick ? 1 : 5); round += 1) {
    const samples: StepSample[] = []
    for (let time = 0; time < 3; time += 1) samples.push(...(await probe(server, SLOTS)))
    const pace = fitStepModel(samples, STEP_TOKENS)
    const lived: { readonly load: number; readonly requests: WorkloadRequest[]; readonly live: Figures }[] =
      []
    for (const load of LOADS) {
      const requests = workload(pace, { load, count: quick ? 60 : 150, seed: round })
      lived.push({ load, requests, live: await live(server, requests) })
      samples.push(...(await probe(server, SLOTS)))
    }
    const fitted = fitStepModel(samples, STEP_TOKENS)
    for (const { load, requests, live } of lived) {
      rounds.push({ model, round, load, fitted, live, simulated: simulated(fitted, requests) })
    }
    say(`${model}, round ${round}: step ${unloadedTokenMs(fitted).toFixed(2)} ms`)
  }
  return rounds
}

const ALL_WRITE = { sequences: SLOTS, prompts: 0, promptTokens: 0 }

interface LoadWish {
  readonly load: number
  readonly count: number
  readonly seed: number
}

function workload(pace: StepModel, { load, count, seed }: LoadWish): WorkloadRequest[] {
  const random = seededRandom(seed)
  const lengths = Array.from({ length: count }, () => ({
    promptTokens: 16 + Math.floor(random.uniform() * 432),
    outputTokens: 8 + Math.floor(random.uniform() * 56),
  }))
  // What one request takes of the engine when all slots are busy.
  const workMs = lengths.map(
    ({ promptTokens, outputTokens }) =>
      pace.perPromptMs +
      promptTokens * pace.perPromptTokenMs +
      (outputTokens * stepMs(pace, ALL_WRITE)) / SLOTS,
  )
  const meanMs = workMs.reduce((sum, ms) => sum + ms, 0) / count / load
  let arrivalMs = 0
  return lengths.map((length, id) => {
    arrivalMs += exponential(random, meanMs)
    return { ...length, id, arrivalMs, model: 'model', tenant: 'bench', blocks: [] }
  })
}

async function live(server: LlamaServer, requests: readonly WorkloadRequest[]): Promise<Figures> {
  const startMs = performance.now()
  const queue: (() => void)[] = []
  let free = SLOTS
  const take = () => {
    if (free > 0) free -= 1
    else return new Promise<void>((resolve) => queue.push(resolve))
    return undefined
  }
  const give = () => {
    const next = queue.shift()
    if (next) next()
    else free += 1
  }
  // As behind the gateway: no more at the engine than it has slots.
  const answers = await Promise.all(
    requests.map(async ({ arrivalMs, promptTokens, outputTokens }) => {
      await delay(startMs + arrivalMs - performance.now())
      const cameMs = performance.now()
      await take()
      const { tokensMs } = await ask(server, promptTokens, outputTokens)
      give()
      return { firstMs: (tokensMs[0] ?? 0) - cameMs, lastMs: tokensMs.at(-1) ?? 0, tokens: tokensMs.length }
    }),
  )
  const tokens = answers.reduce((sum, answer) => sum + answer.tokens, 0)
  const endMs = Math.max(...answers.map(({ lastMs }) => lastMs))
  return figures(
    answers.map(({ firstMs }) => firstMs),
    tokens,
    endMs - startMs,
  )
}

function simulated(steps: StepModel, requests: readonly WorkloadRequest[]): Figures {
  const { jobs } = replay(oneInstance(steps, SLOTS, requests))
  const firsts = jobs.map(({ firstTokenMs = 0, request }) => firstTokenMs - request.arrivalMs)
  const tokens = requests.reduce((sum, { outputTokens }) => sum + outputTokens, 0)
  const endMs = Math.max(...jobs.map(({ endMs = 0 }) => endMs))
  return figures(firsts, tokens, endMs)
}

function figures(firstMs: readonly number[], tokens: number, durationMs: number): Figures {
  const { p50, p95 } = quantilesOf(firstMs)
  return { firstP50Ms: p50, firstP95Ms: p95, tokensPerSecond: (1_000 * tokens) / durationMs }
}

const FIGURES = ['firstP50Ms', 'firstP95Ms', 'tokensPerSecond'] as const

function errorOf({ live, simulated }: Round, figure: (typeof FIGURES)[number]): number {
  return Math.abs(simulated[figure] / live[figure] - 1)
}

function result(rounds: readonly Round[], engine: LlamaEngine, { quick }: BenchOptions): BenchResult {
  const cases = Object.keys(MODELS).flatMap((model) => LOADS.map((load) => ({ model, load })))
  const of = (one: (typeof cases)[number]) =>
    rounds.filter(({ model, load }) => model === one.model && load === one.load)
  const summary = cases.map((one) => ({
    ...one,
    live: mediansOf(of(one).map(({ live }) => live)),
    simulated: mediansOf(of(one).map(({ simulated }) => simulated)),
    errors: Object.fromEntries(
      FIGURES.map((figure) => [figure, median(of(one).map((round) => errorOf(round, figure)))]),
    ),
  }))
  return {
    settings: { quick, slots: SLOTS, loads: LOADS, threads: 1 },
    versions: { ...versionsOf(), 'llama.cpp': engine.version ?? 'unknown' },
    notes: [
      'Steps are fitted to probes before and after; the requests that are compared are others, in lengths and times.',
      'Both sides hold back what exceeds the slots, as the gateway does.',
    ],
    goals: cases.flatMap((one) =>
      FIGURES.map((figure) =>
        goal(
          `${one.model} at ${one.load} of its speed: ${figure}, error of the simulator`,
          { atMost: 0.1 },
          of(one).map((round) => errorOf(round, figure)),
        ),
      ),
    ),
    summary,
    rounds,
    table: table(
      ['model', 'load', ...FIGURES.flatMap((figure) => [`${figure} live`, 'simulated'])],
      summary.map(({ model, load, live, simulated }) => [
        ...[model, load],
        ...FIGURES.flatMap((figure) => [live[figure], simulated[figure]]),
      ]),
    ),
  }
}

function mediansOf(all: readonly Figures[]): Figures {
  const of = (figure: (typeof FIGURES)[number]) => median(all.map((one) => one[figure]))
  return {
    firstP50Ms: of('firstP50Ms'),
    firstP95Ms: of('firstP95Ms'),
    tokensPerSecond: of('tokensPerSecond'),
  }
}

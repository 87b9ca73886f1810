import { join } from 'node:path'
import { seededRandom } from '../src/core/random.ts'
import { devicesFrom, modelOfSize, randomModelBytes } from '../src/simulator/fleet.ts'
import { goodput } from '../src/simulator/goodput.ts'
import type { WorkloadRequest } from '../src/simulator/job.ts'
import { replay } from '../src/simulator/replay.ts'
import { reportOf } from '../src/simulator/report.ts'
import type { ModelProfile, Scenario } from '../src/simulator/scenario.ts'
import { readTrace } from '../src/simulator/traces/read-trace.ts'
import type { Trace } from '../src/simulator/traces/trace.ts'
import { workloadOf } from '../src/simulator/workload.ts'
import { goal, table } from './report.ts'
import { interval, intervalText, type Part, seedsFor } from './scheduling-part.ts'
import { COSTS, GATEWAY, policyWith } from './simulated-fleet.ts'

const TRACE = join(import.meta.dirname, '..', 'test', 'traces', 'azure-code.csv')
const MODELS = 20
const STRATEGIES = ['auto', 'round-robin', 'first-fit', 'best-fit', 'least-loaded'] as const
/**
 * The usual 5 and 2 times, with the second one widened: of answers of a dozen tokens, as these are, one prompt that is
 * read in between makes more than twice. Engines read in pieces of which one alone is within ten times.
 */
const SLO = { firstToken: 5, tokens: 10 } as const
const STEP_TOKENS = 256

/** Each model is asked once before the trace begins, in an order that says nothing about how often it will be. */
const WARM_UP_EACH_MS = 30_000

interface Round {
  readonly seed: number
  readonly goodput: Readonly<Record<(typeof STRATEGIES)[number], number>>
}

/** The highest speed at which 99 % are in time, by where models are placed. */
export const goodputs: Part = async (options) => {
  const trace = await readTrace(TRACE, { requests: options.quick ? 1_000 : undefined, seed: 1 })
  const rounds: Round[] = []
  for (const seed of seedsFor(options)) {
    const found = STRATEGIES.map((strategy) => [strategy, goodputOf(trace, strategy, seed)] as const)
    rounds.push({ seed, goodput: Object.fromEntries(found) as Round['goodput'] })
    options.say(
      `goodput, seed ${seed}: ${found.map(([name, speed]) => `${name} ${speed.toFixed(3)}`).join(', ')}`,
    )
  }
  return resultOf(rounds)
}

function goodputOf(trace: Trace, strategy: string, seed: number): number {
  const models = modelsOf(seed)
  const attainmentAt = (speed: number) => {
    const scenario = scenarioOf({ trace, models, strategy, seed, speed })
    return reportOf(replay(scenario), scenario, { fromMs: MODELS * WARM_UP_EACH_MS, slo: SLO }).slo.attainment
  }
  return goodput(attainmentAt, { lowest: 1 / 64, highest: 4, halvings: 7 })
}

function modelsOf(seed: number): ModelProfile[] {
  const random = seededRandom(seed)
  return Array.from({ length: MODELS }, (_, place) => {
    const wishes = {
      name: `model-${place + 1}`,
      nodes: ['node'],
      keepAliveMs: 1e12,
      replicasMax: 3,
      slots: 16,
    }
    const plain = modelOfSize({ ...wishes, memoryBytes: randomModelBytes(random) })
    return { ...plain, steps: { ...plain.steps, stepTokensMax: STEP_TOKENS } }
  })
}

interface Setting {
  readonly trace: Trace
  readonly models: readonly ModelProfile[]
  readonly strategy: string
  readonly seed: number
  readonly speed: number
}

function scenarioOf({ trace, models, strategy, seed, speed }: Setting): Scenario {
  const names = models.map(({ spec }) => spec.name)
  const warmUp = shuffled(names, seed).map(
    (model, place): WorkloadRequest => ({
      ...{ model, id: place, tenant: 'warm-up', arrivalMs: place * WARM_UP_EACH_MS, blocks: [] },
      ...{ promptTokens: 512, outputTokens: 16 },
    }),
  )
  const recorded = workloadOf(trace, { models: names, popularity: { zipf: 1 }, speed, seed }).map(
    (request) => ({
      ...request,
      id: MODELS + request.id,
      arrivalMs: MODELS * WARM_UP_EACH_MS + request.arrivalMs,
    }),
  )
  return {
    ...{ models, devices: devicesFrom('4x80GiB', 'node'), requests: [...warmUp, ...recorded] },
    policy: policyWith({ strategy, eviction: 'gdsf' }),
    // Slower replays are longer: as many reports in each.
    gateway: { ...GATEWAY, demandEveryMs: Math.max(1_000, 1_000 / speed) },
    ...{ costs: COSTS, calendarStartMs: 0, seed },
  }
}

function shuffled<T>(items: readonly T[], seed: number): T[] {
  const random = seededRandom(seed)
  return items
    .map((item) => ({ item, draw: random.uniform() }))
    .sort((a, b) => a.draw - b.draw)
    .map(({ item }) => item)
}

function resultOf(rounds: readonly Round[]) {
  const best = ({ goodput: found }: Round) =>
    Math.max(found['first-fit'], found['best-fit'], found['least-loaded'])
  const rows = STRATEGIES.map((name) => ({
    name,
    goodput: interval(rounds.map((round) => round.goodput[name])),
  }))
  return {
    goals: [
      goal(
        'goodput of auto: ratio to round robin',
        { atLeast: 1.3 },
        rounds.map(({ goodput: found }) => found.auto / found['round-robin']),
      ),
      goal(
        'goodput of auto: ratio to the best of first fit, best fit, least loaded',
        { atLeast: 1.1 },
        rounds.map((round) => round.goodput.auto / best(round)),
      ),
    ],
    summary: rows,
    rounds,
    notes: [
      'Goodput: bursts as recorded (Azure, code); which request asks for which of the 20 models is drawn (Zipf 1), sizes and costs of models are made up. Each model was asked once before.',
      'Only auto moves models afterwards so that devices compute evenly; the others leave them where they have put them.',
      `In time for goodput is within ${SLO.firstToken} times the first token and ${SLO.tokens} times the others of an idle engine. With the usual 2 for the others 96.6 % were in time at a 64th of the recorded speed (round robin, one seed), so that no speed would be good.`,
    ],
    table: table(
      ['goodput, times the recorded speed', 'mean over seeds'],
      rows.map((row) => [row.name, intervalText(row.goodput)]),
    ),
  }
}

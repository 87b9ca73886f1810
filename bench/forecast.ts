import { type ModelTrace, serveGenTrace } from '../test/support/model-trace.ts'
import {
  clairvoyantKeeper,
  forecastKeeper,
  gdsfKeeper,
  type Keeper,
  lruKeeper,
  replayResidency,
} from '../test/support/residency.ts'
import { type Benchmark, goal, rounded, table, versionsOf } from './report.ts'

/** Room for so many percent of all models together. */
const PERCENTS = [10, 20, 40]
const GIB = 2 ** 30
/** Mean pause between requests of the busiest model; the others are as much rarer as they were recorded. */
const BUSIEST_MS = 90_000
const PREFETCH = { wasteMax: 0.1, precisionMin: 0.5 }

const KEEPERS: Readonly<Record<string, (trace: ModelTrace, capacityBytes: number) => Keeper>> = {
  lru: () => lruKeeper(Number.POSITIVE_INFINITY),
  lruKeepAlive: () => lruKeeper(300_000),
  gdsf: (trace) => gdsfKeeper(trace),
  forecastKeeps: (trace, bytes) => forecastKeeper(trace, bytes, { ...PREFETCH, enabled: false }),
  forecast: (trace, bytes) => forecastKeeper(trace, bytes, { ...PREFETCH, enabled: true }),
  clairvoyant: (trace) => clairvoyantKeeper(trace),
}

/** How often somebody waits for a model to load, by what decides which models stay and which come ahead of time. */
export const forecast: Benchmark = {
  summary:
    'cold starts and loads beside LRU, GDSF and an eviction that knows the future, on two weeks of popularity',
  run: async ({ quick, say }) => {
    const rounds: Round[] = []
    for (let seed = 1; seed <= (quick ? 3 : 20); seed++) {
      const trace = serveGenTrace(seed, BUSIEST_MS)
      for (const percent of PERCENTS) {
        const round = roundOf(trace, percent, seed)
        rounds.push(round)
        say(`seed ${seed}, ${percent} %: ${ratiosOf(round)}`)
      }
    }
    const at = (percent: number, peer: string, what: 'coldStarts' | 'loads') =>
      rounds
        .filter((round) => round.percent === percent)
        .map(
          ({ results }) =>
            (results['forecast']?.[what] ?? Number.NaN) / (results[peer]?.[what] ?? Number.NaN),
        )
    return {
      settings: { quick, percents: PERCENTS, busiestMs: BUSIEST_MS, ...PREFETCH },
      versions: versionsOf(),
      notes: [
        'Synthetic but for popularity: clients of ServeGen m-small (Apache-2.0) taken for models, Poisson within the hour.',
        'Sizes are 2 to 32 GiB, a load 1.5 s and 0.5 s per GiB; the first week trains, the second is counted.',
        'A cold start is a request that waited for a load. lru keeps for ever, lruKeepAlive for five minutes.',
        'clairvoyant evicts what is needed last for its size and cost; it loads nothing ahead, and is no bound.',
      ],
      goals: PERCENTS.flatMap((percent) => [
        goal(
          `cold starts of LRU with keep-alive, ${percent} %`,
          { atMost: 0.75 },
          at(percent, 'lruKeepAlive', 'coldStarts'),
        ),
        goal(
          `cold starts of LRU without end, ${percent} %`,
          { atMost: 0.75 },
          at(percent, 'lru', 'coldStarts'),
        ),
        goal(`loads of LRU without end, ${percent} %`, { atMost: 1.25 }, at(percent, 'lru', 'loads')),
      ]),
      summary: summaryOf(rounds),
      rounds,
      table: table(
        ['room', 'keeper', 'cold / LRU', '95 %', 'waited / LRU', 'loads / LRU'],
        summaryOf(rounds).map(({ percent, keeper, cold, interval, waited, loads }) => [
          ...[`${percent} %`, keeper, String(cold), `+-${interval}`, String(waited), String(loads)],
        ]),
      ),
    }
  },
}

type Result = ReturnType<typeof replayResidency>

interface Round {
  readonly seed: number
  readonly percent: number
  readonly results: Readonly<Record<string, Result>>
}

function roundOf(trace: ModelTrace, percent: number, seed: number): Round {
  const sum = trace.specs.reduce((bytes, { memoryBytes }) => bytes + memoryBytes, 0)
  const capacityBytes = Math.max(40 * GIB, (sum * percent) / 100)
  const entries = Object.entries(KEEPERS).map(
    ([name, make]) => [name, replayResidency(trace, capacityBytes, make(trace, capacityBytes))] as const,
  )
  return { seed, percent, results: Object.fromEntries(entries) }
}

function ratiosOf({ results }: Round): string {
  const lru = results['lru']
  return Object.entries(results)
    .map(([name, { coldStarts, loads }]) => {
      return `${name} ${rounded(coldStarts / (lru?.coldStarts ?? 1))}/${rounded(loads / (lru?.loads ?? 1))}`
    })
    .join(', ')
}

/** Means over seeds of each seed's ratio to LRU without end, and half the width of their 95 % interval. */
function summaryOf(rounds: readonly Round[]) {
  return PERCENTS.flatMap((percent) =>
    Object.keys(KEEPERS).map((keeper) => {
      const ratios = (what: 'coldStarts' | 'waitedSeconds' | 'loads') =>
        rounds
          .filter((round) => round.percent === percent)
          .map(({ results }) => (results[keeper]?.[what] ?? 0) / (results['lru']?.[what] ?? 1))
      const cold = ratios('coldStarts')
      const deviation = Math.sqrt(mean(cold.map((one) => (one - mean(cold)) ** 2)))
      const interval = rounded((1.96 * deviation) / Math.sqrt(Math.max(1, cold.length - 1)))
      const [waited, loads] = [mean(ratios('waitedSeconds')), mean(ratios('loads'))]
      return {
        percent,
        keeper,
        cold: rounded(mean(cold)),
        interval,
        waited: rounded(waited),
        loads: rounded(loads),
      }
    }),
  )
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}

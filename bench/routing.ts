import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promptBlocks } from '../src/gateway/dispatch/prompt-blocks.ts'
import {
  mooncakeExcerpt,
  mooncakeTrace,
  pooledHitRatio,
  type ReplayOptions,
  type ReplayResult,
  replayRouting,
  type Strategy,
  type TracedRequest,
} from '../test/support/routing-replay.ts'
import { type Benchmark, type Goal, goal, median, rounded, table } from './report.ts'

const RECORDED = {
  'Mooncake conversation': 'conversation_trace.jsonl',
  'Mooncake synthetic': 'synthetic_trace.jsonl',
}
const CLUSTERS: readonly ReplayOptions[] = [
  { replicas: 4, blocksMax: 4_000 },
  { replicas: 4, blocksMax: 10_000 },
  { replicas: 8, blocksMax: 5_000 },
]
const STRATEGIES: readonly Strategy[] = ['routed', 'least-loaded', 'round-robin']
const MISS_WEIGHTS = [1, 2, 4, 8, 1_000]
const PROMPT_KILOBYTES = [4, 100]

interface Cell extends ReplayResult {
  readonly trace: string
  readonly replicas: number
  readonly blocksMax: number
  readonly strategy: Strategy
  readonly missWeight: number | undefined
  /** Its hits in shares of those of one cache for all. */
  readonly ofPooled: number
}

/** What choosing a replica by what it has read before is worth, and what it costs. */
export const routing: Benchmark = {
  summary: 'prefix hits and load of routing on recorded conversations, beside round robin and least loaded',
  takesTraces: true,
  run: async ({ quick, traces: directory, say }) => {
    const cells: Cell[] = []
    for (const [name, trace] of Object.entries(tracesOf(directory))) {
      say(name)
      for (const cluster of CLUSTERS) cells.push(...replayed(name, trace, cluster))
    }
    const naming = PROMPT_KILOBYTES.map((kilobytes) => ({
      kilobytes,
      ...timed(kilobytes, quick ? 200 : 2_000),
    }))
    return {
      settings: { quick, clusters: CLUSTERS, missWeights: MISS_WEIGHTS },
      versions: {},
      notes: [
        'Each replica works off what it gets in turn: 10,000 tokens read and 5,000 written a second, of all requests together.',
        'A block is 512 tokens; blocksMax is the room of one replica. pooled is one cache with the room of all.',
        'missWeight 4 is what the gateway uses; the others show what it was chosen among.',
        ...(directory === undefined
          ? ['The excerpt of the tests was replayed: --traces gives whole traces.']
          : []),
      ],
      goals: goalsOf(cells),
      summary: { cells, naming },
      rounds: cells,
      table: [...tableOf(cells), '', ...namingTable(naming)],
    }
  },
}

function tracesOf(directory: string | undefined): Record<string, readonly TracedRequest[]> {
  if (directory === undefined) return { 'Mooncake conversation, excerpt': mooncakeExcerpt() }
  const paths = Object.entries(RECORDED).map(([name, file]) => [name, join(directory, file)] as const)
  const found = paths.filter(([, path]) => existsSync(path))
  if (found.length === 0) throw new Error(`none of ${Object.values(RECORDED).join(', ')} is in ${directory}`)
  return Object.fromEntries(found.map(([name, path]) => [name, mooncakeTrace(path)]))
}

function replayed(name: string, trace: readonly TracedRequest[], cluster: ReplayOptions): Cell[] {
  const pooled = pooledHitRatio(trace, cluster)
  const cell = (strategy: Strategy, missWeight?: number): Cell => {
    const options = missWeight === undefined ? cluster : { ...cluster, missWeight }
    const result = replayRouting(trace, strategy, options)
    return { trace: name, ...cluster, strategy, missWeight, ...result, ofPooled: result.hitRatio / pooled }
  }
  return [
    ...STRATEGIES.map((strategy) => cell(strategy)),
    ...MISS_WEIGHTS.map((weight) => cell('routed', weight)),
  ]
}

function goalsOf(cells: readonly Cell[]): Goal[] {
  const routed = cells.filter(({ strategy, missWeight }) => strategy === 'routed' && missWeight === undefined)
  return [
    goal(
      'prefix hits of one pooled cache',
      { atLeast: 0.9 },
      routed.map(({ ofPooled }) => ofPooled),
    ),
    goal(
      'most loaded replica by the mean',
      { atMost: 1.2 },
      routed.map(({ imbalance }) => imbalance),
    ),
  ]
}

/** The names of a prompt's blocks, all of which a request with a choice of replicas pays for. */
function timed(kilobytes: number, times: number): { readonly microseconds: number } {
  const prompt = 'the quick brown fox '.repeat(Math.ceil((kilobytes * 1_024) / 20))
  const rounds = Array.from({ length: 5 }, () => {
    const start = process.cpuUsage()
    for (let time = 0; time < times; time++) promptBlocks('proj_a', prompt)
    const { user, system } = process.cpuUsage(start)
    return (user + system) / times
  })
  return { microseconds: median(rounds) }
}

function tableOf(cells: readonly Cell[]): string[] {
  return table(
    ['trace', 'replicas', 'blocks', 'strategy', 'hits', 'of pooled', 'max/mean', 'first token p50', 'p95'],
    cells.map((cell) => [
      cell.trace,
      `${cell.replicas}`,
      `${cell.blocksMax}`,
      cell.missWeight === undefined ? cell.strategy : `${cell.strategy}, miss ${cell.missWeight}`,
      `${rounded(cell.hitRatio)}`,
      `${rounded(cell.ofPooled)}`,
      `${rounded(cell.imbalance)}`,
      `${Math.round(cell.firstTokenP50Ms)} ms`,
      `${Math.round(cell.firstTokenP95Ms)} ms`,
    ]),
  )
}

function namingTable(
  naming: readonly { readonly kilobytes: number; readonly microseconds: number }[],
): string[] {
  return table(
    ['prompt', 'CPU of naming its blocks'],
    naming.map(({ kilobytes, microseconds }) => [`${kilobytes} KiB`, `${rounded(microseconds)} us`]),
  )
}

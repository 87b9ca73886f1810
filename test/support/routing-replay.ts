import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { tokenCost } from '../../src/scheduler/fair-queue.ts'
import { PrefixIndex } from '../../src/scheduler/prefix-index.ts'
import { RecentWork } from '../../src/scheduler/recent-work.ts'
import { type Candidate, chooseReplica, ROUTING } from '../../src/scheduler/routing.ts'

/** A request of a trace whose prompts are named block by block. */
export interface TracedRequest {
  readonly atMs: number
  readonly promptTokens: number
  readonly outputTokens: number
  readonly blocks: readonly number[]
}

export interface ReplayOptions {
  readonly replicas: number
  /** Blocks that each has room for. */
  readonly blocksMax: number
  readonly missWeight?: number
}

export type Strategy = 'routed' | 'least-loaded' | 'round-robin'

export interface ReplayResult {
  /** Of all blocks of prompts, those that were where the request went. */
  readonly hitRatio: number
  /** Work of the replica with the most, by the mean. */
  readonly imbalance: number
  readonly firstTokenP50Ms: number
  readonly firstTokenP95Ms: number
}

/** Of Mooncake's blocks. */
const BLOCK_TOKENS = 512
/** An engine that reads 10,000 tokens a second and writes 5,000, of all requests together. */
const PREFILL_MS = 0.1
const WRITE_MS = 0.2
const HALF_LIFE_MS = 60_000

/** The excerpt that the tests have. */
export function mooncakeExcerpt(): TracedRequest[] {
  const file = join(import.meta.dirname, '..', 'traces', 'mooncake-conversation.jsonl')
  return linesOf(file).map((line) => {
    const [atMs, promptTokens, outputTokens, runs] = JSON.parse(line) as [
      number,
      number,
      number,
      (number | [number, number])[],
    ]
    const blocks = runs.flatMap((run) => {
      if (typeof run === 'number') return [run]
      return Array.from({ length: run[1] - run[0] + 1 }, (_, at) => run[0] + at)
    })
    return { atMs, promptTokens, outputTokens, blocks }
  })
}

/** A file of Mooncake's as it is published. */
export function mooncakeTrace(file: string): TracedRequest[] {
  return linesOf(file).map((line) => {
    const { timestamp, input_length, output_length, hash_ids } = JSON.parse(line) as {
      timestamp: number
      input_length: number
      output_length: number
      hash_ids: number[]
    }
    return {
      atMs: timestamp,
      promptTokens: input_length,
      outputTokens: output_length,
      blocks: hash_ids,
    }
  })
}

/** The share of hits of one cache as large as those of all replicas together. */
export function pooledHitRatio(trace: readonly TracedRequest[], { replicas, blocksMax }: ReplayOptions) {
  const index = new PrefixIndex<number>()
  let hits = 0
  let all = 0
  for (const { blocks } of trace) {
    hits += index.hits('all', blocks)
    all += blocks.length
    index.note('all', blocks, replicas * blocksMax)
  }
  return hits / all
}

/** Sends each request to a replica that works off what it gets in turn. */
export function replayRouting(
  trace: readonly TracedRequest[],
  strategy: Strategy,
  options: ReplayOptions,
): ReplayResult {
  const index = new PrefixIndex<number>()
  const replicas = Array.from({ length: options.replicas }, (_, at) => ({
    id: `r${at}`,
    recent: new RecentWork(HALF_LIFE_MS),
    total: 0,
    freeAtMs: 0,
  }))
  const firstTokensMs: number[] = []
  let hits = 0
  let all = 0
  trace.forEach(({ atMs, promptTokens, outputTokens, blocks }, number) => {
    const candidates = replicas.map((replica) => ({
      id: replica.id,
      replica,
      waitMs: Math.max(0, replica.freeAtMs - atMs),
      prefillMs: PREFILL_MS,
      hitTokens: Math.min(promptTokens, BLOCK_TOKENS * index.hits(replica.id, blocks)),
      load: replica.recent.at(atMs),
      capacity: 1,
    }))
    const request = { promptTokens, work: promptTokens + 2 * outputTokens }
    const chosen = CHOOSE[strategy](candidates, number, { request, missWeight: options.missWeight })
    if (!chosen) return
    const { replica, hitTokens, waitMs } = chosen
    const readMs = PREFILL_MS * (promptTokens - hitTokens)
    const work = tokenCost({ promptTokens, cachedTokens: hitTokens, completionTokens: outputTokens })
    hits += index.hits(replica.id, blocks)
    all += blocks.length
    firstTokensMs.push(waitMs + readMs)
    replica.recent.add(work, atMs)
    replica.total += work
    replica.freeAtMs = atMs + waitMs + readMs + WRITE_MS * outputTokens
    index.note(replica.id, blocks, options.blocksMax)
  })
  firstTokensMs.sort((a, b) => a - b)
  const quantile = (share: number) => firstTokensMs[Math.floor(share * firstTokensMs.length)] ?? 0
  const totals = replicas.map(({ total }) => total)
  return {
    hitRatio: hits / all,
    imbalance: (Math.max(...totals) * totals.length) / totals.reduce((sum, one) => sum + one, 0),
    firstTokenP50Ms: quantile(0.5),
    firstTokenP95Ms: quantile(0.95),
  }
}

interface Asked {
  readonly request: { readonly promptTokens: number; readonly work: number }
  readonly missWeight: number | undefined
}

type Choose = <One extends Candidate>(all: readonly One[], number: number, asked: Asked) => One | undefined

const CHOOSE: Readonly<Record<Strategy, Choose>> = {
  routed: (all, _number, { request, missWeight = ROUTING.missWeight }) =>
    chooseReplica(all, request, { ...ROUTING, missWeight, slack: 20_000 })?.candidate,
  'least-loaded': (all) => all.reduce((least, one) => (one.waitMs < least.waitMs ? one : least)),
  'round-robin': (all, number) => all[number % all.length],
}

function linesOf(file: string): string[] {
  return readFileSync(file, 'utf8').trim().split('\n')
}

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { PrefixIndex } from '../src/scheduler/prefix-index.ts'
import { devicesFrom, modelOfSize } from '../src/simulator/fleet.ts'
import { BLOCK_TOKENS, type WorkloadRequest } from '../src/simulator/job.ts'
import { type Outcome, replay } from '../src/simulator/replay.ts'
import { reportOf } from '../src/simulator/report.ts'
import type { GatewayRules, Scenario } from '../src/simulator/scenario.ts'
import { readTrace } from '../src/simulator/traces/read-trace.ts'
import { workloadOf } from '../src/simulator/workload.ts'
import { goal, table } from './report.ts'
import type { Part } from './scheduling-part.ts'
import { COSTS, GATEWAY, policyWith } from './simulated-fleet.ts'

const GIB = 2 ** 30
const INSTANCES = 4
/** Of each instance: a million tokens, as a cache in host memory holds them. */
const BLOCKS = 2_048
const START_MS = 60_000
/** A model of 8 billion parameters on a card of today, as vLLM serves it. */
const STEPS = {
  fixedMs: 5,
  perSequenceMs: 0.15,
  perPromptMs: 0,
  perPromptTokenMs: 0.045,
  stepTokensMax: 2_048,
}

/** Conversations over four instances: what routing by prefixes finds of what one common cache would. */
export const prefixes: Part = async (options) => {
  const recorded = options.traces && join(options.traces, 'mooncake', 'conversation_trace.jsonl')
  const isWhole = recorded !== undefined && existsSync(recorded)
  const path = isWhole ? recorded : join(import.meta.dirname, '..', 'test', 'traces', 'mooncake-first.jsonl')
  const trace = await readTrace(path, { requests: options.quick ? 2_000 : undefined, seed: 1 })
  const requests = workloadOf(trace, { models: ['model'], popularity: { zipf: 0 }, speed: 1, seed: 1 }).map(
    (request) => ({ ...request, arrivalMs: START_MS + request.arrivalMs }),
  )
  const [prefix, leastLoaded] = (['prefix', 'least-loaded'] as const).map((routing) => {
    options.say(`prefixes, ${routing}`)
    return figuresOf(replay(scenarioOf(requests, routing)), scenarioOf(requests, routing))
  })
  if (!prefix || !leastLoaded) throw new Error('two ways give two results')
  const pooled = pooledHits(requests)
  return {
    goals: [
      goal('prefix hits: ratio to one pooled cache', { atLeast: 0.9 }, [prefix.hits / pooled]),
      goal('most work of an instance: ratio to the mean', { atMost: 1.2 }, [prefix.maxToMean]),
      goal('first token p99: ratio to least loaded', { atMost: 1 }, [prefix.p99Ms / leastLoaded.p99Ms]),
    ],
    summary: { whole: isWhole, requests: requests.length, pooledHits: pooled, prefix, leastLoaded },
    rounds: [{ prefix, leastLoaded, pooled }],
    notes: [
      isWhole
        ? 'Prefixes: the whole conversation trace of Mooncake.'
        : 'Prefixes: the first 400 requests of the conversation trace of Mooncake; --traces has all of them.',
    ],
    table: table(
      ['routing', 'prefix hits', 'max/mean work', 'first token p50 ms', 'p99 ms'],
      [
        ['prefix', prefix.hits, prefix.maxToMean, prefix.p50Ms, prefix.p99Ms],
        ['least loaded', leastLoaded.hits, leastLoaded.maxToMean, leastLoaded.p50Ms, leastLoaded.p99Ms],
        ['one pooled cache', pooled, '', '', ''],
      ],
    ),
  }
}

function scenarioOf(requests: readonly WorkloadRequest[], routing: GatewayRules['routing']): Scenario {
  const wishes = { name: 'model', nodes: ['node'], keepAliveMs: 1e12, replicasMax: INSTANCES, slots: 32 }
  const plain = modelOfSize({ ...wishes, memoryBytes: 40 * GIB })
  const spec = { ...plain.spec, replicasMin: INSTANCES, pinned: true, loadMs: 1_000, cachedLoadMs: 1_000 }
  return {
    ...{ requests, devices: devicesFrom(`${INSTANCES}x64GiB`, 'node'), calendarStartMs: 0, seed: 1 },
    models: [{ ...plain, spec, steps: STEPS, prefixBlocksMax: BLOCKS }],
    policy: policyWith({ strategy: 'least-loaded' }),
    ...{ gateway: { ...GATEWAY, routing }, costs: COSTS },
  }
}

function figuresOf(outcome: Outcome, scenario: Scenario) {
  const { firstTokenMs, prefixHits = 0 } = reportOf(outcome, scenario)
  const work = new Map<string, number>()
  for (const { instanceId = '', request, blocksHit } of outcome.jobs) {
    const promptMs = Math.max(1, request.promptTokens - blocksHit * BLOCK_TOKENS) * STEPS.perPromptTokenMs
    work.set(instanceId, (work.get(instanceId) ?? 0) + promptMs + request.outputTokens * STEPS.perSequenceMs)
  }
  const shares = [...work.values()]
  const mean = shares.reduce((sum, ms) => sum + ms, 0) / INSTANCES
  return {
    hits: prefixHits,
    maxToMean: Math.max(...shares) / mean,
    p50Ms: firstTokenMs.all.p50,
    p99Ms: firstTokenMs.all.p99,
  }
}

/** Hits of one cache as large as all of them, in the order of arrival. */
function pooledHits(requests: readonly WorkloadRequest[]): number {
  const cache = new PrefixIndex<number>()
  let [hits, blocks] = [0, 0]
  for (const request of requests) {
    hits += cache.hits('pool', request.blocks)
    blocks += request.blocks.length
    cache.note('pool', request.blocks, INSTANCES * BLOCKS)
  }
  return hits / blocks
}

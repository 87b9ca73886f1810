import type { Job, JobEnd } from './job.ts'
import type { Outcome } from './replay.ts'
import type { ModelProfile, Scenario } from './scenario.ts'
import { unloadedFirstTokenMs, unloadedTokenMs } from './step-model.ts'

/** When a request is in time. */
export interface SloScale {
  /**
   * Its first token takes at most so many times what it takes on an idle engine that has the model, where a prompt below
   * the model's mean counts as the mean: nobody promises a short question more than what its neighbours get.
   */
  readonly firstToken: number
  /** The other tokens together at most so many times what they take there. */
  readonly tokens: number
}

export const USUAL_SLO: SloScale = { firstToken: 5, tokens: 2 }

export interface ReportOptions {
  /** What came before is not counted: a warm-up, or what a forecast learned from. */
  readonly fromMs?: number
  readonly slo?: SloScale
}

export interface Report {
  readonly requests: Readonly<Record<JobEnd | 'all', number>>
  readonly slo: {
    /** Share of all requests that were in time; refused, failed and abandoned ones were not. */
    readonly attainment: number
    readonly firstToken: number
    readonly tokens: number
  }
  readonly coldStarts: {
    /** Requests that waited for a load. */
    readonly visible: number
    readonly rate: number
  }
  readonly loads: {
    readonly count: number
    readonly per1000Requests: number
    readonly bytes: number
    readonly fromPageCache: number
    readonly byPurpose: Readonly<Record<string, number>>
    /** Prefetched, and gone or still there without ever serving. */
    readonly prefetchedInVain: number
  }
  readonly firstTokenMs: Readonly<Record<'all' | 'warm' | 'cold', Quantiles>>
  readonly tokensPerSecond: number
  readonly memory: Outcome['memory']
  readonly devices: {
    readonly busyShare: Readonly<Record<string, number>>
    readonly maxToMean: number
  }
  readonly tenants: {
    readonly count: number
    /** Time to the first token over what it takes alone: the mean of the tenant that has it worst, and of all. */
    readonly worstSlowdown: number
    readonly meanSlowdown: number
  }
  /** Share of prompt blocks that engines still held; undefined where the trace knows none. */
  readonly prefixHits: number | undefined
  readonly durationMs: number
}

export interface Quantiles {
  readonly p50: number
  readonly p95: number
  readonly p99: number
}

export function reportOf(
  outcome: Outcome,
  scenario: Scenario,
  { fromMs = 0, slo = USUAL_SLO }: ReportOptions = {},
): Report {
  const profiles = new Map(scenario.models.map((profile) => [profile.spec.name, profile]))
  const meanPrompts = meanPromptsOf(outcome.jobs)
  const jobs = outcome.jobs
    .filter(({ request }) => request.arrivalMs >= fromMs)
    .map((job) => judged(job, profiles.get(job.request.model), { slo, meanPrompts }))
  const cold = jobs.filter(({ job }) => job.cold)
  const durationMs = outcome.durationMs - fromMs
  return {
    requests: requestCounts(jobs.map(({ job }) => job)),
    slo: {
      attainment: share(jobs, ({ firstInTime, othersInTime }) => firstInTime && othersInTime),
      firstToken: share(jobs, ({ firstInTime }) => firstInTime),
      tokens: share(jobs, ({ othersInTime }) => othersInTime),
    },
    coldStarts: { visible: cold.length, rate: cold.length / Math.max(1, jobs.length) },
    loads: loadFacts(outcome, fromMs, jobs.length),
    firstTokenMs: {
      all: firstTokens(jobs),
      warm: firstTokens(jobs.filter(({ job }) => !job.cold)),
      cold: firstTokens(cold),
    },
    tokensPerSecond: (1_000 * servedTokens(jobs)) / Math.max(1, durationMs),
    memory: outcome.memory,
    devices: deviceFacts(outcome),
    tenants: tenantFacts(jobs),
    prefixHits: prefixHits(jobs),
    durationMs,
  }
}

interface Judged {
  readonly job: Job
  readonly firstInTime: boolean
  readonly othersInTime: boolean
  /** From arrival to the first token; undefined when none came. */
  readonly firstTokenMs: number | undefined
  readonly slowdown: number | undefined
}

interface Measure {
  readonly slo: SloScale
  /** By model. */
  readonly meanPrompts: ReadonlyMap<string, number>
}

function judged(job: Job, profile: ModelProfile | undefined, { slo, meanPrompts }: Measure): Judged {
  const { request, firstTokenMs, endMs, end } = job
  if (!profile || end !== 'served' || firstTokenMs === undefined || endMs === undefined) {
    return { job, firstInTime: false, othersInTime: false, firstTokenMs: undefined, slowdown: undefined }
  }
  const waitedMs = firstTokenMs - request.arrivalMs
  const slowdown = waitedMs / unloadedFirstTokenMs(profile.steps, request.promptTokens)
  const usualPrompt = Math.max(request.promptTokens, meanPrompts.get(request.model) ?? 0)
  const firstInTime = waitedMs <= slo.firstToken * unloadedFirstTokenMs(profile.steps, usualPrompt)
  const others = request.outputTokens - 1
  const eachMs = others > 0 ? (endMs - firstTokenMs) / others : 0
  const othersInTime = eachMs <= slo.tokens * unloadedTokenMs(profile.steps) + 1e-6
  return { job, firstInTime, othersInTime, firstTokenMs: waitedMs, slowdown }
}

function meanPromptsOf(jobs: readonly Job[]): ReadonlyMap<string, number> {
  const sums = new Map<string, readonly [number, number]>()
  for (const { request } of jobs) {
    const [tokens, count] = sums.get(request.model) ?? [0, 0]
    sums.set(request.model, [tokens + request.promptTokens, count + 1])
  }
  return new Map([...sums].map(([model, [tokens, count]]) => [model, tokens / count]))
}

function requestCounts(jobs: readonly Job[]): Report['requests'] {
  const counts = { all: jobs.length, served: 0, refused: 0, cancelled: 0, failed: 0 }
  for (const { end } of jobs) if (end) counts[end] += 1
  return counts
}

function loadFacts({ loads }: Outcome, fromMs: number, requests: number): Report['loads'] {
  const counted = loads.filter(({ startedMs }) => startedMs >= fromMs)
  const byPurpose: Record<string, number> = {}
  for (const { purpose } of counted) byPurpose[purpose] = (byPurpose[purpose] ?? 0) + 1
  return {
    count: counted.length,
    per1000Requests: (1_000 * counted.length) / Math.max(1, requests),
    bytes: counted.reduce((sum, { bytes }) => sum + bytes, 0),
    fromPageCache: counted.filter(({ fromPageCache }) => fromPageCache).length,
    byPurpose,
    prefetchedInVain: counted.filter(({ purpose, served }) => purpose === 'prefetch' && !served).length,
  }
}

function deviceFacts({ busyMs, durationMs }: Outcome): Report['devices'] {
  const shares = [...busyMs].map(([id, ms]) => [id, ms / Math.max(1, durationMs)] as const)
  const values = shares.map(([, busy]) => busy)
  return { busyShare: Object.fromEntries(shares), maxToMean: Math.max(0, ...values) / (mean(values) || 1) }
}

function tenantFacts(jobs: readonly Judged[]): Report['tenants'] {
  const byTenant = new Map<string, number[]>()
  for (const { job, slowdown } of jobs) {
    if (slowdown === undefined) continue
    const list = byTenant.get(job.request.tenant) ?? []
    byTenant.set(job.request.tenant, list)
    list.push(slowdown)
  }
  const means = [...byTenant.values()].map(mean)
  return { count: means.length, worstSlowdown: Math.max(0, ...means), meanSlowdown: mean(means) }
}

function prefixHits(jobs: readonly Judged[]): number | undefined {
  const started = jobs.filter(({ job }) => job.startedMs !== undefined)
  const blocks = started.reduce((sum, { job }) => sum + job.request.blocks.length, 0)
  return blocks === 0 ? undefined : started.reduce((sum, { job }) => sum + job.blocksHit, 0) / blocks
}

function servedTokens(jobs: readonly Judged[]): number {
  return jobs.reduce((sum, { job }) => sum + (job.end === 'served' ? job.request.outputTokens : 0), 0)
}

function firstTokens(jobs: readonly Judged[]): Quantiles {
  return quantilesOf(jobs.map(({ firstTokenMs }) => firstTokenMs).filter((ms) => ms !== undefined))
}

export function quantilesOf(values: readonly number[]): Quantiles {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
}

function share<T>(items: readonly T[], holds: (item: T) => boolean): number {
  return items.filter(holds).length / Math.max(1, items.length)
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}

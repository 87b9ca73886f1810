import { hash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { LRUCache } from 'lru-cache'
import { AdaptiveCache, ENTRY_OVERHEAD_BYTES } from '../src/cache/adaptive-cache.ts'
import { adaptiveHits } from '../test/support/adaptive-hits.ts'
import { mooncakeTrace, type Trace, zipfTrace } from '../test/support/cache-traces.ts'
import {
  type CountHits,
  countInfiniteHits,
  countLruHits,
  countMinHits,
  countS3FifoHits,
  countSieveHits,
  countTinyLfuHits,
  keysOf,
} from '../test/support/eviction-rivals.ts'
import { type Benchmark, goal, median, rounded, table, versionsOf } from './report.ts'

const EXPONENTS = [0.7, 0.9, 1.1]
const ZIPF = { keys: 100_000, accesses: 400_000, seed: 1 }
const RECORDED = {
  'Mooncake conversation': 'conversation_trace.jsonl',
  'Mooncake synthetic': 'synthetic_trace.jsonl',
}
/** Room for so many percent of the different keys. */
const PERCENTS = [1, 5, 10, 20]
const TIMED_PERCENT = 10
const ENTRY_BYTES = 1_024
/** So many accesses are timed at once. */
const CHUNK = 4_096

const RIVALS = {
  lru: countLruHits,
  sieve: countSieveHits,
  s3Fifo: countS3FifoHits,
  tinyLfu: countTinyLfuHits,
} as const satisfies Record<string, CountHits>

/** What the response cache's eviction keeps, and what it costs. */
export const cache: Benchmark = {
  summary:
    'hit ratios of the cache beside LRU, SIEVE, S3-FIFO, W-TinyLFU and the optimum; time beside lru-cache',
  takesTraces: true,
  run: async ({ quick, traces: directory, say }) => {
    const traces = { ...recordedTraces(directory), ...zipfTraces() }
    const prefixes = Array.from({ length: quick ? 1 : 5 }, (_, naming) => `naming ${naming}`)
    const cells = Object.entries(traces).flatMap(([name, trace]) => {
      say(`hit ratios: ${name}`)
      return PERCENTS.map((percent) => ({ trace: name, percent, ...hitRatios(trace, percent, prefixes) }))
    })
    const timings: Timing[] = []
    for (let round = 1; round <= (quick ? 3 : 15); round++) {
      say(`time: round ${round}`)
      for (const [name, trace] of Object.entries(traces))
        timings.push({ round, trace: name, ...timed(trace, round) })
    }
    const missing = Object.keys(RECORDED).filter((name) => !(name in traces))
    return {
      settings: { quick, zipf: ZIPF, namings: prefixes.length, timedPercent: TIMED_PERCENT },
      versions: versionsOf('lru-cache'),
      notes: [
        'Entries are of one size, every missed key is put in, and percent is the room in shares of the different keys.',
        'min is the optimum of Belady, who knows the future; infinite is a cache without an end.',
        'ours is the median, and lowest the lowest, over namings of the keys: names decide hashes, the only chance here.',
        'ns is CPU time per access: a get and, after a miss, a set. Each brings a new string of 64 hexadecimal characters.',
        'same: the ratio where each access brings the very string object of the last one, whose hash V8 has kept.',
        ...missing.map(
          (name) => `${name} is left out, for its file was not in a directory given by --traces.`,
        ),
      ],
      goals: [
        ...hitGoals(cells, prefixes.length),
        ...Object.keys(traces).map((name) => timeGoal(name, timings)),
      ],
      summary: { cells },
      rounds: timings,
      table: [...hitTable(cells), '', ...timeTable(Object.keys(traces), timings)],
    }
  },
}

type Ratios = ReturnType<typeof hitRatios>
type Cell = Ratios & { readonly trace: string; readonly percent: number }

interface Timing {
  readonly round: number
  readonly trace: string
  readonly oursNs: number
  readonly lruCacheNs: number
  readonly oursSameStringNs: number
  readonly lruCacheSameStringNs: number
}

function zipfTraces(): Record<string, Trace> {
  return Object.fromEntries(EXPONENTS.map((exponent) => [`Zipf ${exponent}`, zipfTrace(exponent, ZIPF)]))
}

function recordedTraces(directory: string | undefined): Record<string, Trace> {
  if (directory === undefined) return {}
  const paths = Object.entries(RECORDED).map(([name, file]) => [name, join(directory, file)] as const)
  const found = paths.filter(([, path]) => existsSync(path))
  if (found.length === 0) throw new Error(`none of ${Object.values(RECORDED).join(', ')} is in ${directory}`)
  return Object.fromEntries(found.map(([name, path]) => [name, mooncakeTrace(path)]))
}

function hitRatios(trace: Trace, percent: number, prefixes: readonly string[]) {
  const capacity = Math.round((keysOf(trace) * percent) / 100)
  const ratio = (count: CountHits) => rounded(count(trace, capacity) / trace.length)
  const ours = prefixes.map((prefix) => ratio(adaptiveHits(prefix)))
  const of = Object.entries(RIVALS).map(([name, count]) => [name, ratio(count)] as const)
  const rivals: Record<string, number> = Object.fromEntries(of)
  const best = Math.max(...Object.values(rivals))
  const min = ratio(countMinHits)
  const infinite = ratio(countInfiniteHits)
  return {
    entries: capacity,
    rivals,
    best,
    ours: median(ours),
    lowest: Math.min(...ours),
    each: ours,
    min,
    infinite,
  }
}

/** The time of a whole trace, where each access brings a string of its own, as each request does, or always the same one. */
function timed(trace: Trace, round: number): Omit<Timing, 'round' | 'trace'> {
  const digests = Array.from({ length: keysOf(trace) }, (_, key) => hash('sha256', `${key}`))
  const buffers = digests.map((digest) => Buffer.from(digest, 'latin1'))
  const fresh = beside(trace, round, (key) => buffers[key]?.toString('latin1') ?? '')
  const same = beside(trace, round, (key) => digests[key] ?? '')
  return { ...fresh, oursSameStringNs: same.oursNs, lruCacheSameStringNs: same.lruCacheNs }
}

function beside(trace: Trace, round: number, keyOf: (key: number) => string) {
  const capacity = Math.round((keysOf(trace) * TIMED_PERCENT) / 100)
  const bytesMax = ENTRY_BYTES * capacity
  const ours = () => {
    const adaptive = new AdaptiveCache<true>({ bytesMax })
    const sizeBytes = ENTRY_BYTES - ENTRY_OVERHEAD_BYTES
    return cpuNs(trace, keyOf, (key) => {
      if (!adaptive.get(key)) adaptive.set(key, true, sizeBytes)
    })
  }
  const lruCache = () => {
    const lru = new LRUCache<string, true>({ maxSize: bytesMax, max: capacity })
    return cpuNs(trace, keyOf, (key) => {
      if (!lru.get(key)) lru.set(key, true, { size: ENTRY_BYTES })
    })
  }
  // Whoever comes second may find the machine warmer: they take turns.
  const first = round % 2 === 1 ? lruCache() : undefined
  const oursNs = ours()
  return { oursNs, lruCacheNs: first ?? lruCache() }
}

/** Making the keys is not counted. */
function cpuNs(trace: Trace, keyOf: (key: number) => string, access: (key: string) => void): number {
  let micros = 0
  for (let start = 0; start < trace.length; start += CHUNK) {
    const keys = Array.from(trace.subarray(start, start + CHUNK), keyOf)
    const before = process.cpuUsage()
    for (const key of keys) access(key)
    const { user, system } = process.cpuUsage(before)
    micros += user + system
  }
  return rounded((1_000 * micros) / trace.length)
}

function hitGoals(cells: readonly Cell[], namings: number) {
  const perNaming = <Value>(of: (naming: number) => Value) =>
    Array.from({ length: namings }, (_, at) => of(at))
  const lruGap = sum(cells.map(({ min, rivals }) => min - (rivals['lru'] ?? 0)))
  const ahead = (naming: number) =>
    Math.min(...cells.map(({ each, best }) => 100 * ((each[naming] ?? 0) - best)))
  const gap = (naming: number) => sum(cells.map(({ min, each }) => min - (each[naming] ?? 0))) / lruGap
  return [
    goal('worst cell: points of hit ratio above the best rival', { atLeast: -1 }, perNaming(ahead)),
    goal('mean gap to the optimum, ratio to that of LRU', { atMost: 0.9 }, perNaming(gap)),
  ]
}

function timeGoal(name: string, timings: readonly Timing[]) {
  const its = timings.filter(({ trace }) => trace === name)
  return goal(
    `ns per access, ratio to lru-cache: ${name}`,
    { atMost: 2 },
    its.map(({ oursNs, lruCacheNs }) => oursNs / lruCacheNs),
  )
}

function hitTable(cells: readonly Cell[]): string[] {
  const points = (ratio: number) => (100 * ratio).toFixed(2)
  const header = ['hits, %', 'room %', ...Object.keys(RIVALS), 'ours', 'lowest', 'min', 'infinite', 'of min']
  const rows = cells.map(({ trace, percent, rivals, ours, lowest, min, infinite }) => [
    trace,
    percent,
    ...[...Object.values(rivals), ours, lowest, min, infinite].map(points),
    (ours / min).toFixed(3),
  ])
  return table(header, rows)
}

function timeTable(names: readonly string[], timings: readonly Timing[]): string[] {
  const rows = names.map((name) => {
    const its = timings.filter(({ trace }) => trace === name)
    const of = (pick: (one: Timing) => number) => rounded(median(its.map(pick)))
    return [
      name,
      of((one) => one.oursNs),
      of((one) => one.lruCacheNs),
      of((one) => one.oursNs / one.lruCacheNs),
      of((one) => one.oursSameStringNs / one.lruCacheSameStringNs),
    ]
  })
  return table(['CPU per access', 'ours ns', 'lru-cache ns', 'ratio', 'same'], rows)
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

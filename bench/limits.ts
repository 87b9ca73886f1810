import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { parseConfig } from '../src/config/schema.ts'
import { silentLog } from '../src/core/log.ts'
import { MemoryStore } from '../src/limits/memory-store.ts'
import { RedisStore } from '../src/limits/redis-store.ts'
import type { Charge, LimitStore } from '../src/limits/store.ts'
import type { RedisClient } from '../src/redis/connection.ts'
import { openRedis } from '../src/redis/connection.ts'
import { systemClock } from '../src/system.ts'
import { RedisServer } from '../test/support/redis.ts'
import { type Benchmark, goal, median, rounded, table, versionsOf } from './report.ts'

const KEYS = 10_000
/** In this process half of the decisions are refusals, as where a limit is at work; in Redis, where they are fewer, none. */
const LIMIT = 50
const WINDOW_MS = 60_000
const IN_FLIGHT = 64
/** One for each key; the first of them makes it. */
const SLICE_COUNT = KEYS
const SLICES = 6

/** What it costs to decide whether a request is within its limit. */
export const limits: Benchmark = {
  summary: 'decisions of limits in this process and in Redis, beside bare ones and rate-limiter-flexible',
  run: async ({ quick, say }) => {
    say('starting Redis')
    const server = await RedisServer.start()
    const redis = openRedis(parseConfig({ redis: { urls: [server.url] } }).redis, silentLog)
    while (redis.client.status !== 'ready')
      await new Promise((resolve) => redis.client.once('ready', resolve))
    const limiters = sharedLimiters(redis.client)
    const rounds: Round[] = []
    for (let round = 0; round <= (quick ? 3 : 9); round++) {
      say(round === 0 ? 'warming up' : `round ${round}`)
      const memory = await inProcess(quick ? 200_000 : 1_000_000)
      const shared = await inRedis(redis.client, limiters, round)
      if (round > 0) rounds.push({ round, ...memory, ...shared })
    }
    await redis.stop()
    await server.stop()
    const of = (field: Exclude<keyof Round, 'round'>) => median(rounds.map((one) => one[field]))
    const ratios = (top: Exclude<keyof Round, 'round'>, bottom: Exclude<keyof Round, 'round'>) =>
      rounds.map((one) => one[top] / one[bottom])
    return {
      settings: {
        quick,
        keys: KEYS,
        limit: LIMIT,
        inFlight: IN_FLIGHT,
        slices: SLICES,
        sliceCount: SLICE_COUNT,
      },
      versions: { ...versionsOf('ioredis', 'rate-limiter-flexible') },
      notes: [
        'In this process: CPU of one decision about one rule, keys in turn; bare is a token bucket in a Map, with the same clock.',
        'In Redis: one server on the loopback interface, one connection, 64 calls on their way; INCR is the least that a shared counter can do.',
        'Ours decides with the time of the server, marks the request so that it is never charged twice, and says what is left.',
        'Ours sends what is asked in one turn of the event loop in one call; INCR and rate-limiter-flexible send a command each.',
      ],
      goals: [
        goal('in process: CPU, ratio to a bare Map', { atMost: 1.5 }, ratios('oursNanos', 'bareNanos')),
        goal(
          'in process: times faster than rate-limiter-flexible',
          { atLeast: 6 },
          ratios('flexibleNanos', 'oursNanos'),
        ),
        goal('Redis: decisions/s, ratio to INCR', { atLeast: 0.9 }, ratios('oursPerSecond', 'incrPerSecond')),
        goal(
          'Redis: decisions/s, ratio to rate-limiter-flexible',
          { atLeast: 1.4 },
          ratios('oursPerSecond', 'flexiblePerSecond'),
        ),
      ],
      summary: {
        oursNanos: of('oursNanos'),
        bareNanos: of('bareNanos'),
        flexibleNanos: of('flexibleNanos'),
        oursPerSecond: of('oursPerSecond'),
        incrPerSecond: of('incrPerSecond'),
        flexiblePerSecond: of('flexiblePerSecond'),
      },
      rounds,
      table: table(
        ['who', 'in process, ns', 'Redis, decisions/s'],
        [
          ['HelixFlow', rounded(of('oursNanos')), rounded(of('oursPerSecond'))],
          ['bare', rounded(of('bareNanos')), rounded(of('incrPerSecond'))],
          ['rate-limiter-flexible', rounded(of('flexibleNanos')), rounded(of('flexiblePerSecond'))],
        ],
      ),
    }
  },
}

interface Round {
  readonly round: number
  readonly oursNanos: number
  readonly bareNanos: number
  readonly flexibleNanos: number
  readonly oursPerSecond: number
  readonly incrPerSecond: number
  readonly flexiblePerSecond: number
}

async function inProcess(count: number) {
  const charges = chargesOf()
  const store = new MemoryStore(systemClock)
  const bare = new BareBuckets()
  const flexible = new RateLimiterMemory({ points: LIMIT, duration: WINDOW_MS / 1_000 })
  const oursNanos = await nanosEach(count, (at) => {
    store.reserve({ tenant: 'org', requestId: '', held: false, charges: [charges[at % KEYS] as Charge] })
  })
  const names = charges.map(({ key }) => key)
  const bareNanos = await nanosEach(count, (at) => {
    bare.take(names[at % KEYS] as string, 1)
  })
  const flexibleNanos = await nanosEach(count / 4, (at) =>
    flexible.consume(names[at % KEYS] as string).catch(refusal),
  )
  return { oursNanos, bareNanos, flexibleNanos }
}

interface SharedLimiters {
  readonly ours: LimitStore
  readonly flexible: RateLimiterRedis
}

/** As a gateway has them: made once. */
function sharedLimiters(client: RedisClient): SharedLimiters {
  const terms = { points: LIMIT, duration: WINDOW_MS / 1_000 }
  return {
    ours: new RedisStore({ client, prefix: 'bench', id: 'bench' }),
    flexible: new RateLimiterRedis({ storeClient: client, ...terms, keyPrefix: 'flexible' }),
  }
}

async function inRedis(client: RedisClient, { ours, flexible }: SharedLimiters, round: number) {
  await client.flushall()
  const charges = chargesOf()
  const names = charges.map(({ key }) => key)
  const works = {
    oursPerSecond: (at: number) =>
      ours.reserve({
        tenant: 'org',
        requestId: `r${at}`,
        held: false,
        charges: [charges[at % KEYS] as Charge],
      }),
    incrPerSecond: (at: number) => client.incr(`bench:incr:${names[at % KEYS]}`),
    flexiblePerSecond: (at: number) => flexible.consume(names[at % KEYS] as string).catch(refusal),
  }
  const seconds = { oursPerSecond: 0, incrPerSecond: 0, flexiblePerSecond: 0 }
  // In turns, so that what else the machine does meets all of them; whoever comes first finds an empty server.
  const order = Object.keys(works) as (keyof typeof works)[]
  for (let slice = 0; slice < SLICES; slice++) {
    for (let turn = 0; turn < order.length; turn++) {
      const who = order[(turn + round) % order.length] as keyof typeof works
      seconds[who] += await secondsOf(slice * SLICE_COUNT, works[who])
    }
  }
  const perSecond = (who: keyof typeof works) => (SLICES * SLICE_COUNT) / seconds[who]
  return {
    oursPerSecond: perSecond('oursPerSecond'),
    incrPerSecond: perSecond('incrPerSecond'),
    flexiblePerSecond: perSecond('flexiblePerSecond'),
  }
}

function chargesOf(): Charge[] {
  return Array.from({ length: KEYS }, (_, at) => ({
    key: `lim_0123456789/key_${String(at).padStart(12, '0')}#token-bucket`,
    kind: 'token-bucket',
    limit: LIMIT,
    windowMs: WINDOW_MS,
    burst: LIMIT,
    cost: 1,
  }))
}

/** What one would write who needs nothing else. */
class BareBuckets {
  private readonly buckets = new Map<string, { tokens: number; atMs: number }>()

  take(key: string, cost: number): { allowed: boolean; remaining: number; waitMs: number } {
    const nowMs = systemClock.monotonic()
    const rate = LIMIT / WINDOW_MS
    const bucket = this.buckets.get(key)
    const tokens = bucket ? Math.min(LIMIT, bucket.tokens + (nowMs - bucket.atMs) * rate) : LIMIT
    const allowed = tokens >= cost
    const left = allowed ? tokens - cost : tokens
    this.buckets.set(key, { tokens: left, atMs: nowMs })
    return { allowed, remaining: Math.floor(left), waitMs: allowed ? 0 : (cost - tokens) / rate }
  }
}

/** A refusal of rate-limiter-flexible is a rejection; anything else is a failure. */
function refusal(reason: unknown): RateLimiterRes {
  if (reason instanceof RateLimiterRes) return reason
  throw reason
}

async function nanosEach(count: number, work: (at: number) => unknown): Promise<number> {
  const before = process.cpuUsage()
  for (let at = 0; at < count; at++) {
    const result = work(at)
    if (result instanceof Promise) await result
  }
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1_000) / count
}

/** One slice, always so many on their way. */
async function secondsOf(from: number, work: (at: number) => Promise<unknown> | unknown): Promise<number> {
  const startMs = performance.now()
  let next = from
  const worker = async () => {
    while (next < from + SLICE_COUNT) await work(next++)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker))
  return (performance.now() - startMs) / 1_000
}

import { chmodSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { type CacheMetrics, noCacheMetrics } from '../cache/cache-metrics.ts'
import type { LayeredCache } from '../cache/layered-cache.ts'
import type { Config } from '../config/schema.ts'
import type { AuthClient, TokenIssuer } from '../contracts/auth.ts'
import type { DatabaseAdministration } from '../contracts/database.ts'
import type { MonitorClient } from '../contracts/monitor.ts'
import type { PoolClient } from '../contracts/pool.ts'
import type { ResponsesStore } from '../contracts/responses-store.ts'
import type { TlsFiles } from '../contracts/rpc-transport.ts'
import type { VectorStore } from '../contracts/vector-store.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { Random } from '../core/random.ts'
import type { Tracer } from '../core/tracing.ts'
import type { OneTimeSecrets } from '../streams/secrets.ts'
import type { Producer, StreamStore, StreamWriter } from '../streams/stream.ts'
import type { StreamEvent } from '../streams/stream-event.ts'
import type { Topics } from '../streams/topics.ts'
import { buildApp } from './app.ts'
import { CachingDispatch } from './caching/caching-dispatch.ts'
import { type ChosenIndex, chooseIndex } from './caching/choose-index.ts'
import { ModelRevisions } from './caching/model-revisions.ts'
import { SemanticLookup } from './caching/semantic-lookup.ts'
import { type BackupControl, buildControlApp } from './control/app.ts'
import { CredentialCache } from './credential-cache.ts'
import type { Dispatch } from './dispatch/dispatch.ts'
import { EventStream } from './dispatch/event-stream.ts'
import { startDispatch } from './dispatch/start-dispatch.ts'
import { Drain } from './drain.ts'
import { Generation } from './generation.ts'
import { type LimitParts, startLimits } from './limits/start-limits.ts'
import { type Counting, startCounting } from './metrics/start-counting.ts'
import { Realtime, type RealtimeStatus } from './realtime/realtime.ts'
import { UsageMinutes } from './realtime/usage-minutes.ts'
import { responseRevival } from './responses/response-revival.ts'
import { startRuns } from './responses/start-runs.ts'
import { chatRevival } from './streaming/chat-revival.ts'
import { StreamReaders } from './streaming/stream-readers.ts'
import { Takeover } from './streaming/takeover.ts'
import { type MeterOptions, UsageMeter } from './usage/meter.ts'

export interface GatewayParts {
  readonly config: Config['gateway']
  readonly scheduler: Pick<Config['scheduler'], 'fairness'>
  readonly caching: Config['cache']
  readonly cache: LayeredCache
  readonly realtime: Config['realtime']
  readonly streams: StreamStore
  readonly responses: ResponsesStore
  /** Where questions may be kept for all gateways. */
  readonly vectors: VectorStore
  readonly topics: Topics
  /** Tickets for sockets. */
  readonly secrets: OneTimeSecrets
  readonly auth: AuthClient & TokenIssuer
  readonly pool: PoolClient
  /** For engines of other machines. */
  readonly tls?: TlsFiles | undefined
  readonly database: DatabaseAdministration | undefined
  /** Undefined where there is none that this gateway knows. */
  readonly monitor: MonitorClient | undefined
  /** Where the records of requests go, and the folder and the space in which they wait for it. */
  readonly usage: Pick<MeterOptions, 'sink' | 'directory' | 'bytesMax' | 'price'>
  readonly limits: Pick<LimitParts, 'redis' | 'gatewaysMin' | 'outputTokens' | 'spend'>
  readonly metrics: Metrics
  readonly tracer: Tracer
  /** Whether servers of others are told the trace of a request. */
  readonly tracesUpstreams: boolean
  readonly databaseProblem: () => Promise<HelixError | undefined>
  /** Path of the Unix socket for administration. */
  readonly controlSocket: string
  readonly status: () => Promise<object>
  readonly backups: BackupControl | undefined
  readonly cacheMetrics?: CacheMetrics | undefined
  readonly instance: string
  readonly version: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** One line per request. */
  readonly accessLog: Logger
}

export interface Gateway {
  /** Where it listens: `http://127.0.0.1:8443`. */
  readonly url: string
  realtime(): RealtimeStatus
  /** Whether it takes new work. */
  stays(): boolean
  /** Goes on with a stream whose gateway is gone. */
  takeOver(writer: StreamWriter, soFar: readonly StreamEvent[]): Producer
  /** Refuses new requests, lets running ones finish within the grace time, then closes. */
  stop(): Promise<void>
}

const KEEP_ALIVE_BEAT_MS = 5_000
/** Of the grace time, for sockets that were open to its end. */
const GOODBYE_MS = 1_500

/** @throws HelixError `address_in_use` */
export async function startGateway(parts: GatewayParts): Promise<Gateway> {
  const { config, pool, clock } = parts
  const drain = new Drain()
  const credentials = makeCredentialCache(parts)
  const counting = startCounting(parts)
  const work = await startWork(parts, { drain, credentials, counting })
  const { caching, meter, limits, revisions, stopRuns, stopDispatch } = work
  const readiness = { drain, database: parts.databaseProblem, usage: () => meter.problem(), pool }
  const realtime = new Realtime({
    ...parts,
    ...work,
    ...counting,
    settings: parts.realtime,
    credentials,
    readiness,
    drain,
  })
  const app = buildApp({
    ...parts,
    ...counting,
    generation: work.generation,
    runs: work.runs,
    readers: work.readers,
    responses: { ...work, store: parts.responses, streams: parts.streams },
    realtime,
    limits: limits.gate,
    credentials,
    drain,
    readiness,
    trustedProxies: config.trustedProxies,
    bodyLimitBytes: config.bodyLimit,
  })
  const control = buildControlApp({ ...parts, limits: limits.gate, realtime, vectorsKept: work.vectorsKept })
  try {
    await openDoors(parts, app, control)
  } catch (reason) {
    await realtime.stop()
    await meter.stop()
    await limits.stop()
    throw reason
  }
  const stopKeepAlive = EventStream.keepAlive(KEEP_ALIVE_BEAT_MS)

  const stop = async () => {
    // Whoever is sent away takes a moment to go.
    const sendAwayMs = Math.max(config.drainGrace - GOODBYE_MS, config.drainGrace / 2)
    const drained = drain.begin(clock, config.drainGrace)
    await Promise.all([drained, realtime.drain(sendAwayMs).then(() => realtime.stop())])
    // First: who had its turn now would begin what is ended here.
    limits.gate.stop()
    await caching.stop()
    await stopRuns()
    await limits.stop()
    await meter.stop()
    await control.close()
    rmSync(parts.controlSocket, { force: true })
    await app.close()
    stopKeepAlive()
    counting.stop()
    revisions.stop()
    credentials.stop()
    await stopDispatch()
  }
  return {
    url: urlOf(app.server.address() as AddressInfo),
    realtime: () => realtime.status(),
    stays: () => !drain.draining,
    takeOver: (writer, soFar) => work.takeover.goOn(writer, soFar),
    stop,
  }
}

function makeCredentialCache({ auth, clock, config }: GatewayParts): CredentialCache {
  const { keyCacheMax: entriesMax, keyCacheTtl: ttlMs, keyGrace: graceMs } = config
  return new CredentialCache({ auth, clock, entriesMax, ttlMs, graceMs })
}

interface WorkParts {
  readonly drain: Drain
  readonly credentials: CredentialCache
  readonly counting: Counting
}

/** What a request passes on its way to an engine. */
async function startWork(parts: GatewayParts, { drain, credentials, counting }: WorkParts) {
  const { config, pool, clock, log, accessLog, tracer } = parts
  const { dispatch, stop: stopDispatch } = startDispatch(parts)
  const revisions = new ModelRevisions(pool, clock)
  const { index, kept: vectorsKept } = await chooseIndex({
    store: parts.vectors,
    sharesAnswers: parts.cache.sharesAnswers,
    isWanted: parts.caching.enabled && parts.caching.rules.some(({ semantic }) => semantic !== undefined),
    clock,
    log,
  })
  const caching = makeCaching(parts, { dispatch, revisions, index })
  const meter = new UsageMeter({ ...parts.usage, instance: parts.instance, clock, log })
  const limits = await startLimits({
    ...parts,
    ...parts.limits,
    price: parts.usage.price,
    requestDeadlineMs: config.requestDeadline,
  })
  const minutes = new UsageMinutes(clock)
  counting.watch({ drain, meter })
  const { counts, requests } = counting
  const admits = { meter, credentials, limits: limits.gate }
  const generation = new Generation({ dispatch: caching, ...admits, minutes, counts })
  const { runs, responses, keeper, stop: stopRuns } = startRuns({ ...parts, generation, drain })
  const readers = new StreamReaders(credentials)
  const revive = { chat: chatRevival, response: responseRevival(keeper, clock) }
  const takeover = new Takeover({
    ...{ generation, credentials, readers, drain, clock, log, revive, accessLog, requests, tracer },
  })
  const started = {
    caching,
    vectorsKept,
    meter,
    limits,
    revisions,
    minutes,
    generation,
    runs,
    responses,
    readers,
    takeover,
  }
  return { ...started, stopRuns, stopDispatch }
}

/** @throws HelixError `address_in_use` */
async function openDoors(
  { config, controlSocket }: GatewayParts,
  app: FastifyInstance,
  control: FastifyInstance,
): Promise<void> {
  await listen(() => app.listen({ host: config.host, port: config.port }), `${config.host}:${config.port}`)
  rmSync(controlSocket, { force: true })
  await listen(() => control.listen({ path: controlSocket }), controlSocket)
  chmodSync(controlSocket, 0o600)
}

function urlOf({ address, port, family }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

function makeCaching(
  { config, caching, cache, clock, cacheMetrics }: GatewayParts,
  {
    dispatch,
    revisions,
    index,
  }: Pick<ChosenIndex, 'index'> & {
    readonly dispatch: Dispatch
    readonly revisions: ModelRevisions
  },
): CachingDispatch {
  const metrics = cacheMetrics ?? noCacheMetrics
  return new CachingDispatch({
    dispatch,
    semantic: new SemanticLookup({ dispatch, index, cache, clock, metrics }),
    cache,
    revisions,
    clock,
    policy: {
      ttlMs: caching.ttl,
      staleMs: caching.staleFor,
      rules: caching.enabled ? caching.rules : [{ mode: 'never' }],
    },
    share: caching.share,
    answerBytesMax: caching.answerMax,
    metrics,
    requestDeadlineMs: config.requestDeadline,
    stallTimeoutMs: config.stallTimeout,
  })
}

async function listen(start: () => Promise<string>, where: string): Promise<void> {
  try {
    await start()
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code !== 'EADDRINUSE' && code !== 'EACCES' && code !== 'EADDRNOTAVAIL') throw cause
    const reason = code === 'EADDRINUSE' ? 'is taken by another program' : `cannot be used (${code})`
    throw new HelixError(
      'address_in_use',
      `${where} ${reason}. Choose another with --port or gateway.port.`,
      { cause },
    )
  }
}
